"""What became of a head's logits, as far as a fused loss can follow.

Of r = x·Wᵀ + bias, a record says which logits u are meant:

    u = scale·r        or, after a tanh,        u = cap·tanh(scale·r)

or their log-softmax, whose loss is the same. Every step gives a new record, or None where the step
leads out of this form. Steps on the leading dims are taken on x in place of the logits, and those
on the columns on W, so that autograd follows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Record:
    """x: (..., hidden); weight: (classes, hidden); bias: (classes,). The logits are (..., classes),
    of `dtype`.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    dtype: torch.dtype
    scale: float = 1.0
    cap: float | None = None  # None: no tanh so far
    normalised: bool = False  # log softmax(u) is meant: no number can change it any more

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.x.shape[:-1], self.weight.shape[0]))

    def times(self, factor: object) -> Record | None:
        """u·factor, a number."""
        if not isinstance(factor, int | float) or not math.isfinite(factor) or factor == 0:
            return None
        if self.normalised:
            return None
        if self.cap is None:
            return replace(self, scale=self.scale * factor)
        return replace(self, cap=self.cap * factor)

    def over(self, divisor: object, *, rounding_mode: str | None = None) -> Record | None:
        """u / divisor, a number."""
        if not isinstance(divisor, int | float) or divisor == 0 or rounding_mode is not None:
            return None
        return self.times(1.0 / divisor)

    def tanh(self) -> Record | None:
        return replace(self, cap=1.0) if self.cap is None and not self.normalised else None

    def log_softmax(
        self, dim: int | None = None, *given: Any, dtype: torch.dtype | None = None, **_: int
    ) -> Record | None:
        """log softmax(u), of the classes. Its dtype may be given after the dim."""
        if dim is None or dim % len(self.shape) != len(self.shape) - 1:
            return None
        dtypes = [d for d in (dtype, *given) if isinstance(d, torch.dtype)]
        found = self.convert(dtypes[0] if dtypes else self.dtype)
        return None if found is None else replace(found, normalised=True)

    def transpose(self, dim0: int, dim1: int) -> Record | None:
        """u with two of its leading dims exchanged."""
        dims = [dim % len(self.shape) for dim in (dim0, dim1)]
        return self.rows(lambda x: x.transpose(*dims)) if max(dims) < self.x.dim() - 1 else None

    def plus(self, added: object, *, alpha: object = 1) -> Record | None:
        """u + a bias of (classes,), or with leading dims of 1."""
        if not isinstance(added, Tensor) or alpha != 1 or self.scale != 1.0 or self.cap is not None:
            return None
        if self.normalised:
            return None
        fits = added.shape[-1:] == self.shape[-1:] and added.numel() == self.shape[-1]
        alike = (added.dtype, added.device) == (self.weight.dtype, self.weight.device)
        if not fits or not alike or added.dim() > len(self.shape) or added.dtype != self.dtype:
            return None
        bias = added.reshape(-1)
        return replace(self, bias=bias if self.bias is None else self.bias + bias)

    def convert(self, dtype: torch.dtype) -> Record | None:
        """u in float32. To fewer digits would round, which this form can't say."""
        return replace(self, dtype=dtype) if dtype in (self.dtype, torch.float32) else None

    def reshape(self, shape: tuple[Any, ...]) -> Record | None:
        """u in a shape whose last dim is still the classes."""
        classes, hidden = self.weight.shape
        if not shape or shape[-1] not in (classes, -1):
            return None
        if shape[-1] == -1:  # a product of sizes that need not be the classes
            lead = math.prod(shape[:-1])
            if -1 in shape[:-1] or lead * classes != math.prod(self.shape):
                return None
        return replace(self, x=self.x.reshape(*shape[:-1], hidden))

    def flatten(self, start: int, end: int) -> Record | None:
        """u with the dims from `start` to `end` as one, if the last is none of them."""
        dims = self.x.dim()
        start, end = start % dims, end % dims
        return replace(self, x=self.x.flatten(start, end)) if start <= end < dims - 1 else None

    def index(self, key: Any) -> Record | None:
        """u[key], of leading dims by any key, of the classes by a slice from the first on."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(isinstance(k, list | range) for k in keys):
            return None
        takes = sum(_dims_taken(k) for k in keys)
        at = next((i for i, k in enumerate(keys) if k is Ellipsis), None)
        if at is None and takes < self.x.dim():
            keys.append(Ellipsis)
        elif at is not None and takes == self.x.dim():
            del keys[at]
        if takes > self.x.dim() or sum(k is Ellipsis for k in keys) > 1:
            return None
        if keys[-1] is Ellipsis or (at is None and takes < self.x.dim()):
            return replace(self, x=self.x[tuple(keys)])
        *lead, last = keys
        if not isinstance(last, slice) or last.step not in (None, 1):
            return None
        first, stop, _ = last.indices(self.shape[-1])
        if first != 0 or stop < 1:
            return None
        x = self.x[(*lead, slice(None))]
        if stop == self.shape[-1]:
            return replace(self, x=x)
        if self.normalised:
            return None
        bias = None if self.bias is None else self.bias[:stop]
        return replace(self, x=x, weight=self.weight[:stop], bias=bias)

    def rows(self, step: Callable[[Tensor], Tensor]) -> Record:
        """u after a step which doesn't see the last dim."""
        return replace(self, x=step(self.x))


def _dims_taken(key: object) -> int:
    """How many dims of a tensor an element of its index stands for."""
    if key is None or key is Ellipsis or isinstance(key, bool):
        return 0
    if isinstance(key, Tensor) and key.dtype in (torch.bool, torch.uint8):
        return key.dim()
    return 1
