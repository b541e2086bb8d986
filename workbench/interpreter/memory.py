"""What a GPU punishes and the interpreter lets pass: access outside the tensors a kernel was given,
and results that hang on the order in which programs run.

Programs run in another order in every launch. Every access must lie in the memory of a tensor that
the launch was given; a GPU would read what others left there, write over it, or stop.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import torch
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder
from triton.tools.tensor_descriptor import TensorDescriptor


class OutsideError(IndexError):
    """A kernel reads or writes where none of its tensors lies."""


class _Launch:
    """The launch that runs: where its tensors lie, and the order of its programs."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self.order: list[int] = []


_now = _Launch()
_chance = random.Random(0)


def install() -> None:
    """Check every access, and shuffle the programs of every launch."""
    builder = InterpreterBuilder
    builder.create_masked_load = _checked(builder.create_masked_load, mask_at=1)
    builder.create_masked_store = _checked(builder.create_masked_store, mask_at=2)
    builder.create_atomic_cas = _checked(builder.create_atomic_cas, at=0)
    builder.create_atomic_rmw = _checked(builder.create_atomic_rmw, at=1, mask_at=3)
    builder.set_grid_dim = _shuffling(builder.set_grid_dim)
    builder.set_grid_idx = _shuffled(builder.set_grid_idx)
    GridExecutor._init_args_hst = _noting(GridExecutor._init_args_hst)


def _noting(stock: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stock)
    def prepare(self: Any, args: Any, kwargs: Any) -> Any:
        given = stock(self, args, kwargs)
        _now.spans = [*_spans([*given[0], *given[1].values()])]
        return given

    return prepare


def _spans(arguments: Iterable[Any]) -> Iterator[tuple[int, int]]:
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from _spans(argument)
        elif isinstance(argument, TensorDescriptor):
            yield from _spans([argument.base])
        elif isinstance(tensor := getattr(argument, "base", argument), torch.Tensor):
            storage = tensor.untyped_storage()
            yield storage.data_ptr(), storage.data_ptr() + storage.nbytes()


def _checked(
    stock: Callable[..., Any], *, at: int = 0, mask_at: int | None = None
) -> Callable[..., Any]:
    @wraps(stock)
    def access(self: Any, *operands: Any) -> Any:
        pointers = operands[at]
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        mask = None if mask_at is None else operands[mask_at].data
        _check(pointers.data if mask is None else pointers.data[_like(mask, pointers.data)], size)
        return stock(self, *operands)

    return access


def _like(mask: Any, addresses: Any) -> Any:
    return np.broadcast_to(mask, addresses.shape).astype(bool)


def _check(addresses: Any, size: int) -> None:
    if not addresses.size:
        return
    first, last = int(addresses.min()), int(addresses.max()) + size
    if any(start <= first and last <= end for start, end in _now.spans):
        return
    inside = np.zeros(addresses.shape, bool)
    for start, end in _now.spans:
        inside |= (addresses >= start) & (addresses + np.uint64(size) <= end)
    if not inside.all():
        count = int((~inside).sum())
        raise OutsideError(f"{count} elements are accessed outside the tensors of the launch")


def _shuffling(stock: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stock)
    def set_grid_dim(self: Any, nx: int, ny: int, nz: int) -> None:
        stock(self, nx, ny, nz)
        _now.order = _chance.sample(range(nx * ny * nz), nx * ny * nz)

    return set_grid_dim


def _shuffled(stock: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stock)
    def set_grid_idx(self: Any, x: int, y: int, z: int) -> None:
        _, ny, nz = self.grid_dim
        rest, z = divmod(_now.order[(x * ny + y) * nz + z], nz)
        stock(self, *divmod(rest, ny), z)

    return set_grid_idx
