"""Logits that are computed when somebody needs them.

A head in training gives `LazyLogits`, a tensor without memory. What a model does to logits before
their loss (scale, softcap, cast, slice, reshape) is recorded; `cross_entropy` of them is computed
by the fused loss. Anything else gets real logits: the head's product, and then the same calls that
were made on the lazy ones, so that they are what they would have been.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.hooks import RemovableHandle

from workbench_kernels.patching import fused_loss
from workbench_kernels.patching.record import Record
from workbench_kernels.patching.recording import RULES
from workbench_kernels.patching.tied import tie


@dataclass
class Meter:
    """The token accuracy of a head's last fused loss, where it is asked for."""

    wanted: bool = False
    accuracy: Tensor | None = None


class Call(NamedTuple):
    """A call that was made on a lazy tensor, without that tensor."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(eq=False)
class Deferred:
    """What a lazy tensor stands for: the product of `leaves`, x, weight and bias, or its parent's
    values; and then `calls`, one after the other, of which the tensors are leaves too.

    `own` says that it would have memory of its own, and so could change without its parent.
    """

    record: Record
    leaves: tuple[Tensor, ...]
    meter: Meter
    parent: Deferred | None = None
    calls: tuple[Call, ...] = ()
    own: bool = True
    real: Tensor | None = None
    fused: bool = False  # a loss was computed of it or of what came of it
    children: list[weakref.ref[Deferred]] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)  # of the leaves; none in a graph

    def __post_init__(self) -> None:
        if not torch.compiler.is_compiling():
            self.versions = [t._version for t in self.leaves]

    def line(self) -> list[Deferred]:
        """This and what it came of."""
        return [self] if self.parent is None else [self, *self.parent.line()]

    def pending(self) -> bool:
        """Whether nobody has seen its values: what someone did to them would go by the record."""
        return all(d.real is None for d in self.line())

    def materialise(self) -> Tensor:
        if self.real is None and torch.compiler.is_compiling():
            self.real = self._computed()
        elif self.real is None:
            # Whoever asks first may want no gradient, and the next one.
            with torch.inference_mode(False), torch.enable_grad():
                self.real = self._computed()
        return self.real

    def wrapper(self) -> Tensor:
        """The lazy tensor that stands for it, in no graph yet."""
        record = self.record
        lazy = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            _Wrapper, record.shape, dtype=record.dtype, device=record.x.device
        )
        lazy.deferred = self
        return cast(Tensor, lazy)

    def settle(self) -> None:
        """Before a change of values: what came of them is of the old ones."""
        self.materialise()
        for child in (ref() for ref in self.children):
            if child is not None:
                child.settle()

    def derive(self, record: Record, call: Call, own: bool) -> Deferred:
        """What a recorded call makes of it."""
        added = tuple(t for t in call.args if isinstance(t, Tensor) and t.is_floating_point())
        child = Deferred(record, self.leaves + added, self.meter, self, (call,), own)
        self.children.append(weakref.ref(child))
        return child

    def change(self, record: Record, call: Call) -> bool:
        """Record a call in place. Whether that can be done: not if others share its values."""
        alone = self.own and all(child() is None for child in self.children)
        if alone and record.dtype == self.record.dtype:
            self.record, self.calls = record, (*self.calls, call)
            return True
        return False

    def _computed(self) -> Tensor:
        if self.versions and self.versions != [t._version for t in self.leaves]:
            raise RuntimeError(
                "these logits were never computed, and the head's input or weights have changed "
                "since; read them before the optimizer's step"
            )
        value = self._product() if self.parent is None else self.parent.materialise()
        for func, args, kwargs in self.calls:
            value = func(value, *args, **kwargs)
        return value

    def _product(self) -> Tensor:
        x, weight, *bias = self.leaves
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, weight, *bias)


class LazyLogits(Tensor):
    """Logits, (..., classes), that behave as any tensor does."""

    deferred: Deferred

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else kwargs.pop("input", None)
        if isinstance(first, LazyLogits):
            told = _METADATA.get(func)
            if told is not None:
                return told(first.deferred, *args[1:], **kwargs)
            if func in _PLACES:
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            call = Call(func, tuple(args[1:]), kwargs)
            if first.deferred.pending() and not _any_lazy(call[1:]):
                answer = _answer(first, call)
                if answer is not None:
                    return answer
            if func in _HOOKS and first.deferred.fused:
                return _without_gradient(func)
            if _changes(func):
                first.deferred.settle()
            args = (first, *args[1:])
        return func(*_real(args), **_real(kwargs))


class _Wrapper(LazyLogits):
    """Lazy logits without memory."""

    @classmethod
    @_disable_dynamo  # as torch.compiler.disable, which imports the compiler at once
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Not for a compiler: a graph that is given these breaks at what is called on them."""
        return super().__torch_function__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """For what reaches PyTorch's core past `__torch_function__`."""
        return func(*_real(args), **_real(kwargs or {}))


def defer(x: Tensor, weight: Tensor, bias: Tensor | None, meter: Meter) -> LazyLogits:
    """The logits x·Wᵀ + bias, later."""
    leaves = (x, weight) if bias is None else (x, weight, bias)
    return _wrap(Deferred(Record(x, weight, bias, x.dtype), leaves, meter))


def _wrap(deferred: Deferred) -> LazyLogits:
    if not torch.compiler.is_compiling():
        return cast(LazyLogits, tie(deferred))
    # A compiled graph can't make tensors without memory: one number, which nobody should read.
    record = deferred.record
    nothing = record.x.detach().new_full((), float("nan"), dtype=record.dtype)
    lazy = nothing.expand(record.shape).as_subclass(LazyLogits)
    lazy.deferred = deferred
    return lazy


def _real(tree: Any) -> Any:
    """All that is lazy in it, materialised."""
    return tree_map(lambda t: t.deferred.materialise() if isinstance(t, LazyLogits) else t, tree)


def _any_lazy(tree: Any) -> bool:
    return any(isinstance(t, LazyLogits) for t in tree_leaves(tree))


def _without_gradient(func: Callable[..., Any]) -> RemovableHandle:
    """What logits answer when they are asked for their gradient after a loss without them.

    A hook is taken and never called: FSDP hangs one on each output, to know when backward begins.
    """
    if func is Tensor.register_hook:
        return RemovableHandle(OrderedDict())
    raise RuntimeError(
        "the loss was computed without these logits, so they get no gradient from it; call "
        "retain_grad before the loss"
    )


def _changes(func: Callable[..., Any]) -> bool:
    """Whether a call changes the values of its first argument."""
    name = getattr(func, "__name__", "")
    return name in ("__setitem__", "__set__") or (name.endswith("_") and not name.endswith("__"))


def _answer(lazy: LazyLogits, call: Call) -> Any:
    """What can be had without values; None for nothing."""
    deferred = lazy.deferred
    if call.func is F.cross_entropy or (call.func is F.nll_loss and deferred.record.normalised):
        return cross_entropy(deferred, *call.args, **call.kwargs)
    rule = RULES.get(call.func)
    if rule is None:
        return None
    try:
        record = rule.step(deferred.record, *call.args, **call.kwargs)
    except TypeError:  # an argument that the rule doesn't know
        return None
    if record is None:
        return None
    if rule.in_place:
        return lazy if deferred.change(record, call) else None
    if rule.cast and record.dtype == deferred.record.dtype:
        return lazy
    return _wrap(deferred.derive(record, call, rule.own))


def cross_entropy(deferred: Deferred, *args: Any, **kwargs: Any) -> Tensor | None:
    """The fused loss of logits whose values nobody has seen, by the arguments of
    `fused_loss.cross_entropy`; None for a call that it can't serve.
    """
    meter = deferred.meter
    found = fused_loss.cross_entropy(deferred.record, *args, **kwargs, accuracy=meter.wanted)
    if found is None:
        return None
    loss, accuracy = found
    if accuracy is not None:
        meter.accuracy = accuracy
    for d in deferred.line():
        d.fused = True
    return loss


def _facts() -> dict[Any, Callable[..., Any]]:
    """What is known of a lazy tensor without its values."""
    methods: dict[str, Callable[..., Any]] = {
        "size": lambda d, dim=None: d.record.shape if dim is None else d.record.shape[dim],
        "dim ndimension": lambda d: len(d.record.shape),
        "numel nelement": lambda d: d.record.shape.numel(),
        "__len__": lambda d: d.record.shape[0],
        # It has no memory; who is told so asks for the same logits, contiguous.
        "is_contiguous": lambda d, memory_format=torch.contiguous_format: False,
        "is_floating_point": lambda d: True,
        "is_complex": lambda d: False,
    }
    attributes: dict[str, Callable[..., Any]] = {
        "shape": lambda d: d.record.shape,
        "ndim": lambda d: len(d.record.shape),
        "dtype": lambda d: d.record.dtype,
        "device": lambda d: d.record.x.device,
        "is_cuda": lambda d: d.record.x.is_cuda,
        "requires_grad": lambda d: any(t.requires_grad for t in d.leaves),
    }
    return {
        **{getattr(Tensor, n): fact for names, fact in methods.items() for n in names.split()},
        **{getattr(Tensor, name).__get__: fact for name, fact in attributes.items()},
    }


_METADATA = _facts()
# Where the values are, which compilers and FSDP ask: nowhere, and they are no part of others.
_PLACES = {Tensor.stride, Tensor.storage_offset, Tensor._base.__get__}  # type: ignore[union-attr]
_HOOKS = {Tensor.register_hook, Tensor.retain_grad}
