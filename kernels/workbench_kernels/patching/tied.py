"""Tying a tensor without memory into the graph, for whoever takes it past `__torch_function__`:
another autograd function, for one.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor


class Lazy(Protocol):
    """What such a tensor stands for."""

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """The tensors it is made of."""

    def materialise(self) -> Tensor:
        """Its values, of the leaves."""

    def wrapper(self) -> Tensor:
        """The tensor without memory, in no graph yet."""


def tie(lazy: Lazy) -> Tensor:
    """Its wrapper, in the graph of its leaves. The backward goes through the values."""
    return cast(Tensor, _Tie.apply(lazy, *lazy.leaves))  # type: ignore[no-untyped-call]


class _Tie(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lazy: Lazy, *leaves: Tensor) -> Tensor:
        ctx.lazy = lazy
        return lazy.wrapper()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[1:]
        wanted = [leaf for leaf, need in zip(ctx.lazy.leaves, needs, strict=True) if need]
        found = iter(torch.autograd.grad(ctx.lazy.materialise(), wanted, grads, retain_graph=True))
        return None, *(next(found) if need else None for need in needs)
