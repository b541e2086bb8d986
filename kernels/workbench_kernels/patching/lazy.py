"""Logits that are computed when somebody needs them.

A head in training gives `LazyLogits`, a tensor without memory. What a model does to logits before
their loss (scale, softcap, cast, slice, reshape) is recorded; `cross_entropy` of them is computed
by the fused loss. Anything else gets real logits: the head's product, and then the same calls that
were made on the lazy ones, so that they are what they would have been.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from workbench_kernels.patching import fused_loss
from workbench_kernels.patching.record import Record


@dataclass
class Meter:
    """The token accuracy of a head's last fused loss, where it is asked for."""

    wanted: bool = False
    accuracy: Tensor | None = None


@dataclass(eq=False)
class Deferred:
    """What a lazy tensor stands for.

    `replay` computes it. `leaves` are the tensors that its gradient flows to. `own` says that it
    would have its own memory, and so could change without its parent.
    """

    record: Record
    replay: Callable[[], Tensor]
    leaves: tuple[Tensor, ...]
    meter: Meter
    parent: Deferred | None = None
    own: bool = True
    real: Tensor | None = None
    fused: bool = False  # a loss was computed of it or of what came of it
    children: list[weakref.ref[Deferred]] = field(default_factory=list)

    def line(self) -> list[Deferred]:
        """This and what it came of."""
        return [self] + ([] if self.parent is None else self.parent.line())

    def pending(self) -> bool:
        """Whether nobody has seen its values: what someone did to them would go by the record."""
        return all(d.real is None for d in self.line())

    def materialise(self) -> Tensor:
        if self.real is None:
            # Whoever asks first may want no gradient, and the next one.
            with torch.inference_mode(False), torch.enable_grad():
                self.real = self.replay()
        return self.real

    def settle(self) -> None:
        """Before a change of values: whoever came of them has had the old ones."""
        self.materialise()
        for child in (ref() for ref in self.children):
            if child is not None:
                child.settle()

    def derive(
        self, record: Record, call: Callable[[Tensor], Tensor], leaves: Sequence[Tensor], own: bool
    ) -> Deferred:
        """What a recorded call makes of it."""
        child = Deferred(
            record, lambda: call(self.materialise()), (*self.leaves, *leaves), self.meter, self, own
        )
        self.children.append(weakref.ref(child))
        return child

    def change(self, record: Record, call: Callable[[Tensor], Tensor]) -> None:
        """What a recorded call in place makes of it."""
        before = self.replay
        self.record, self.replay = record, lambda: call(before())


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
        kwargs = kwargs or {}
        if func in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        first = args[0] if args else kwargs.get("input")
        if isinstance(first, LazyLogits):
            rest = tuple(args[1:])
            others = {k: v for k, v in kwargs.items() if k != "input"}
            if first.deferred.pending() and not _any_lazy((rest, others)):
                answer = _answer(first, func, rest, others)
                if answer is not None:
                    return answer
            if func in _HOOKS and any(d.fused for d in first.deferred.line()):
                raise RuntimeError(
                    "the loss was computed without these logits, so they get no gradient from it; "
                    "ask for it before the loss"
                )
            if _changes(func):
                first.deferred.settle()
        return func(*_real(args), **_real(kwargs))

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
    seen = [t._version for t in leaves]

    def product() -> Tensor:
        if [t._version for t in leaves] != seen:
            raise RuntimeError(
                "these logits were never computed, and the head's input or weights have changed "
                "since; read them before the optimizer's step"
            )
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, weight, bias)

    return _wrap(Deferred(Record(x, weight, bias, x.dtype), product, leaves, meter))


class _Defer(torch.autograd.Function):
    """Ties a lazy tensor into the graph, for whoever takes it past `__torch_function__`: another
    autograd function, for one. Its backward goes through the real logits.
    """

    @staticmethod
    def forward(ctx: Any, deferred: Deferred, *leaves: Tensor) -> Tensor:
        ctx.deferred = deferred
        record = deferred.record
        lazy = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            LazyLogits, record.shape, dtype=record.dtype, device=record.x.device
        )
        lazy.deferred = deferred
        return cast(Tensor, lazy)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        deferred = ctx.deferred
        needed = [n for n, t in enumerate(deferred.leaves) if ctx.needs_input_grad[n + 1]]
        found = torch.autograd.grad(
            deferred.materialise(),
            [deferred.leaves[n] for n in needed],
            grads,
            retain_graph=True,
        )
        by_place = dict(zip(needed, found, strict=True))
        return None, *(by_place.get(n) for n in range(len(deferred.leaves)))


def _wrap(deferred: Deferred) -> LazyLogits:
    return cast(LazyLogits, _Defer.apply(deferred, *deferred.leaves))


def _real(tree: Any) -> Any:
    """All that is lazy in it, materialised."""
    return tree_map(lambda t: t.deferred.materialise() if isinstance(t, LazyLogits) else t, tree)


def _any_lazy(tree: Any) -> bool:
    found: list[bool] = []
    tree_map(lambda t: found.append(isinstance(t, LazyLogits)), tree)
    return any(found)


def _changes(func: Callable[..., Any]) -> bool:
    """Whether a call changes the values of its first argument."""
    name = getattr(func, "__name__", "")
    return name in ("__setitem__", "__set__") or (name.endswith("_") and not name.endswith("__"))


def _answer(lazy: LazyLogits, func: Any, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What can be had without values; None for nothing."""
    deferred = lazy.deferred
    if func is F.cross_entropy:
        return cross_entropy(deferred, *rest, **kwargs)
    rule = _RULES.get(func)
    if rule is None:
        return None
    try:
        record = rule.step(deferred.record, *rest, **kwargs)
    except TypeError:  # an argument that the rule doesn't know
        return None
    if record is None:
        return None
    if record is deferred.record and rule.same:
        return lazy

    def call(real: Tensor) -> Tensor:
        return cast(Tensor, func(real, *rest, **kwargs))

    if rule.in_place:
        alone = deferred.own and all(child() is None for child in deferred.children)
        if not alone or record.dtype != deferred.record.dtype:
            return None
        deferred.change(record, call)
        return lazy
    leaves = [t for t in rest if isinstance(t, Tensor) and t.is_floating_point()]
    return _wrap(deferred.derive(record, call, leaves, rule.own))


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


@dataclass(frozen=True)
class _Rule:
    """How a call is recorded. `own`: its result has its own memory. `same`: it is the same tensor
    where nothing changes.
    """

    step: Callable[..., Record | None]
    own: bool = False
    same: bool = False
    in_place: bool = False


def _to(record: Record, *args: Any, **kwargs: Any) -> Record | None:
    """Of `Tensor.to`: a dtype, and the device where it is."""
    dtype, device = record.dtype, record.x.device
    for given in (*args, *(kwargs.pop(name, None) for name in ("dtype", "device"))):
        if isinstance(given, torch.dtype):
            dtype = given
        elif isinstance(given, str | torch.device):
            device = torch.device(given)
        elif isinstance(given, Tensor):
            dtype, device = given.dtype, given.device
        elif given is not None and not isinstance(given, bool):
            return None
    if device != record.x.device or kwargs.get("copy") or any(a is True for a in args[2:]):
        return None
    return record.convert(dtype)


def _sized(record: Record, *sizes: Any, shape: Any = None, size: Any = None) -> Record | None:
    given = shape or size or sizes
    nested = len(given) == 1 and isinstance(given[0], tuple | list)
    sizes = tuple(given[0] if nested else given)
    if not all(isinstance(n, int) for n in sizes):
        return None
    return record.reshape(sizes)


def _unsqueeze(record: Record, dim: int) -> Record | None:
    lead = 0 <= dim < record.x.dim() or -record.x.dim() - 1 <= dim < -1
    return record.rows(lambda x: x.unsqueeze(dim)) if lead else None


def _squeeze(record: Record, dim: Any = None) -> Record | None:
    lead = isinstance(dim, int) and dim % record.x.dim() < record.x.dim() - 1
    return record.rows(lambda x: x.squeeze(dim)) if lead else None


def _table() -> dict[Any, _Rule]:
    """The rule of each call, by the functions that `__torch_function__` is told of."""
    arithmetic: dict[str, Callable[..., Record | None]] = {
        "mul multiply": Record.times,
        "div divide true_divide": Record.over,
        "tanh": Record.tanh,
        "add": Record.plus,
    }
    shapes: dict[str, Callable[..., Record | None]] = {
        "view reshape": _sized,
        "flatten": lambda r, start_dim=0, end_dim=-1: r.flatten(start_dim, end_dim),
        "unsqueeze": _unsqueeze,
        "squeeze": _squeeze,
        "__getitem__": Record.index,
        "contiguous": lambda r, memory_format=torch.contiguous_format: r,
    }
    casts: dict[str, Callable[..., Record | None]] = {
        "float": lambda r, memory_format=torch.preserve_format: r.convert(torch.float32),
        "to": _to,
        "type": lambda r, dtype: r.convert(dtype) if isinstance(dtype, torch.dtype) else None,
        "type_as": lambda r, other: _to(r, other),
    }
    rules = {
        **{names: _Rule(step, own=True) for names, step in arithmetic.items()},
        **{names: _Rule(step) for names, step in shapes.items()},
        **{names: _Rule(step, own=True, same=True) for names, step in casts.items()},
        "mul_ multiply_": _Rule(Record.times, in_place=True),
        "div_ divide_ true_divide_": _Rule(Record.over, in_place=True),
        "tanh_": _Rule(Record.tanh, in_place=True),
        "clone": _Rule(lambda r, memory_format=torch.preserve_format: r, own=True),
    }
    owners = (Tensor, torch, F)
    return {
        getattr(owner, name): rule
        for names, rule in rules.items()
        for name in names.split()
        for owner in owners
        if hasattr(owner, name)
    }


_RULES = _table()
# Answered by the tensor without memory.
_METADATA = {
    *(getattr(Tensor, name) for name in "size dim ndimension numel nelement __len__".split()),
    *(getattr(Tensor, name) for name in "is_floating_point is_complex element_size".split()),
    *(
        getattr(Tensor, name).__get__
        for name in "shape dtype device ndim layout requires_grad is_leaf is_cuda is_cpu".split()
        + "is_meta is_sparse is_quantized is_nested itemsize".split()
        if hasattr(Tensor, name)
    ),
}
_HOOKS = {Tensor.register_hook, Tensor.retain_grad}
