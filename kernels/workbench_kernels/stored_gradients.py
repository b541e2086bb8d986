"""Gradients that a loss's forward has computed, where its backward would compute much again.

They are stored for an upstream gradient of 1. The first backward that asks for one takes it:
multiplied in place by what the upstream gradient is on the device, and neither read nor written
where that is 1. Whoever asks again, or in another way, has the op's backward compute it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.jit import jit
from workbench_kernels.launch import cdiv, device_of, flat_tile, multiprocessors
from workbench_kernels.tuning import Fixed


@jit
def _multiply(OUT, GRAD, FACTOR, n, IN_PLACE: tl.constexpr, BLOCK: tl.constexpr):
    factor = tl.load(FACTOR).to(tl.float32)
    if not IN_PLACE or factor != 1.0:
        step = tl.num_programs(0).to(tl.int64) * BLOCK
        for start in range(tl.program_id(0).to(tl.int64) * BLOCK, n, step):
            offsets = start + tl.arange(0, BLOCK)
            mask = offsets < n
            grad = tl.load(GRAD + offsets, mask=mask, other=0.0).to(tl.float32)
            tl.store(OUT + offsets, (grad * factor).to(OUT.dtype.element_ty), mask=mask)


def is_stored(x: Tensor, reduction: str) -> bool:
    """Whether the forward computes the gradients.

    Not where their upstream gradient must be known first: one for each row; or a loss scaled up,
    so that its gradients are not lost in float16.
    """
    return reduction != "none" and x.dtype is not torch.float16


def store(ctx: Any, grads: Sequence[Tensor], now: Sequence[bool]) -> None:
    """Keep those gradients that were computed, for `take`.

    Not saved for backward, as autograd says it: that would keep them after a backward took them.
    """
    ctx.stored = [grad if there else None for grad, there in zip(grads, now, strict=True)]


def take(
    ctx: Any,
    dy: Tensor,
    asked: Sequence[bool],
    table: Fixed,
    scale: Callable[[list[Tensor], Tensor], list[Tensor]],
    again: Callable[[list[bool]], list[Tensor]],
) -> tuple[Tensor | None, ...]:
    """The gradients that are `asked` for: those stored times dy, the others computed `again`.

    `scale` is the op that gives copies of gradients, multiplied; `table` says with what to launch.
    """
    # A gradient that is to be differentiated again is left to the op that refuses that.
    stored = [None] * len(asked) if torch.is_grad_enabled() else ctx.stored
    ready = [needed and grad is not None for needed, grad in zip(asked, stored, strict=True)]
    missing = [needed and not there for needed, there in zip(asked, ready, strict=True)]
    found = [grad for grad, there in zip(stored, ready, strict=True) if there]
    if type(dy) is Tensor:
        # Nobody else has seen the gradients: they are handed over, and no longer stored.
        ctx.stored = [None if n else g for g, n in zip(ctx.stored, ready, strict=True)]
        found = [_multiplied(grad, grad, dy, table) for grad in found]
    elif found:  # traced: a graph changes none of its inputs
        found = scale(found, dy)
    grads = op.spread(found, ready)
    if any(missing):
        both = zip(grads, op.spread(again(missing), missing), strict=True)
        grads = tuple(new if old is None else old for old, new in both)
    return grads


def scaled(grads: list[Tensor], factor: Tensor, table: Fixed) -> list[Tensor]:
    """Copies of gradients, multiplied."""
    return [_multiplied(torch.empty_like(grad), grad, factor, table) for grad in grads]


def _multiplied(out: Tensor, grad: Tensor, factor: Tensor, table: Fixed) -> Tensor:
    tile = flat_tile(table)
    resident = max(1, tile.resident // tile.num_warps) * multiprocessors(grad)
    grid = (min(resident, cdiv(grad.numel(), tile.block_cols)),)
    if grad.numel():
        with device_of(grad):
            _multiply[grid](
                out,
                grad,
                factor,
                grad.numel(),
                IN_PLACE=out is grad,
                BLOCK=tile.block_cols,
                num_warps=tile.num_warps,
            )
    return out
