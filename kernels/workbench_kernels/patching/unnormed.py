"""Heads whose norm is left to the rotary function that they go to.

The norm of queries or keys gives `Unnormed`, a tensor without memory that may be transposed. A
rotary function that is given two of them has them normalised and turned by one kernel. Anything
else that reads one gets what the norm computes, as if it had been computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.utils._pytree import tree_map

from workbench_kernels.patching.tied import tie


class Norm(NamedTuple):
    """x / √(mean(x²) + eps)·(weight + offset), and what computes it."""

    weight: Tensor
    eps: float
    offset: float
    compute: Callable[[Tensor], Tensor]


@dataclass(eq=False)
class Pending:
    """The norm of `x`, and then `moves`; `moved` is x after them, without the norm."""

    x: Tensor
    norm: Norm
    moved: Tensor
    moves: tuple[Callable[[Tensor], Tensor], ...] = ()
    real: Tensor | None = None
    versions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.versions = self.versions or self._now()  # moved, it is of the time before

    @property
    def leaves(self) -> tuple[Tensor, Tensor]:
        """The norm's input and weight."""
        return self.x, self.norm.weight

    def materialise(self) -> Tensor:
        """What the norm gives."""
        if self.real is None:
            self.check()
            # Whoever asks first may want no gradient, and the next one.
            with torch.enable_grad():
                value = self.norm.compute(self.x)
                for move in self.moves:
                    value = move(value)
            self.real = value
        return self.real

    def wrapper(self) -> Tensor:
        """The lazy tensor that stands for it, in no graph yet."""
        # As the result lies, which is contiguous before it is moved.
        like = torch.empty(self.x.shape, dtype=self.x.dtype, device="meta")
        for move in self.moves:
            like = move(like)
        lazy = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            Unnormed, like.shape, strides=like.stride(), dtype=like.dtype, device=self.x.device
        )
        lazy.pending = self
        return cast(Tensor, lazy)

    def check(self) -> None:
        """Raises RuntimeError if x or the weight has changed since."""
        if self.versions != self._now():
            raise RuntimeError("heads were changed in place after their norm was called on them")

    def _now(self) -> tuple[int, ...]:
        return tuple(leaf._version for leaf in self.leaves)


class Unnormed(Tensor):
    """Normalised heads that behave as any tensor does."""

    pending: Pending

    @classmethod
    @_disable_dynamo  # as torch.compiler.disable, which imports the compiler at once
    def __torch_function__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if isinstance(first, Unnormed) and first.pending.real is None:
            if func in _FACTS:
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            if func in _MOVES:
                return _moved(first.pending, lambda t: func(t, *args[1:], **kwargs))
        return func(*_read(args), **_read(kwargs))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """For what reaches PyTorch's core past `__torch_function__`."""
        return func(*_read(args), **_read(kwargs or {}))


def defer(x: Tensor, norm: Norm) -> Unnormed:
    """The norm of x, later."""
    return _wrap(Pending(x, norm, x))


def pending_of(tensors: Sequence[Any]) -> list[Pending] | None:
    """Of two that are all lazy, which nobody has read, and have norms alike; else None."""
    if len(tensors) != 2 or not all(isinstance(t, Unnormed) for t in tensors):
        return None
    q, k = (t.pending for t in tensors)
    alike = (q.norm.eps, q.norm.offset) == (k.norm.eps, k.norm.offset)
    if not alike or q.real is not None or k.real is not None:
        return None
    q.check()
    k.check()
    return [q, k]


def read(t: Any) -> Any:
    """A tensor that was left, computed; anything else as it is."""
    return t.pending.materialise() if isinstance(t, Unnormed) else t


def _moved(pending: Pending, move: Callable[[Tensor], Tensor]) -> Unnormed:
    moves = (*pending.moves, move)
    return _wrap(replace(pending, moved=move(pending.moved), moves=moves))


def _wrap(pending: Pending) -> Unnormed:
    return cast(Unnormed, tie(pending))


def _read(tree: Any) -> Any:
    return tree_map(read, tree)


_MOVES = {
    *(Tensor.transpose, Tensor.permute, Tensor.swapaxes, Tensor.swapdims, Tensor.movedim),
    *(torch.transpose, torch.permute, torch.swapaxes, torch.swapdims, torch.movedim),
}
_FACTS = {
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_contiguous, Tensor.__len__),
    *(Tensor.is_floating_point, Tensor.is_complex, Tensor.storage_offset),
    *(
        getattr(Tensor, name).__get__
        for name in "shape ndim dtype device is_cuda layout requires_grad grad_fn is_leaf".split()
    ),
}
