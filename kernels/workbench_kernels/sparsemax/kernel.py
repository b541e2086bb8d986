"""sparsemax: the projection of each row on the simplex, y = max(x − τ, 0) with τ such that Σy = 1

Forward:
    z = x − maxⱼ x
    τ = −1; as long as fewer z are above it than before:  τ = (Σ z · [z > τ] − 1) / Σ [z > τ]
    y = max(z − τ, 0)

Backward:
    mean = Σ dy · [y > 0] / Σ [y > 0]
    dx   = (dy − mean) · [y > 0]

This is Newton's method on a convex, piecewise linear function (Michelot 1986; Condat, "Fast
projection onto the simplex", 2016): from below τ rises, and is exact once nothing drops out any
more, after some five steps for a normal distribution. A row that is too wide to hold is folded: the
τ of the largest of each lane is at most the row's, and the row's if none but they are above it.
That is seen while y is written; where there are others, another step is taken and y written again.

x, y: float32, bfloat16 or float16; arithmetic in float32. Full-size transfers: forward reads 1 and
writes 1, backward reads 1 and writes 1: of dy only what is where y is above 0, which is little as a
rule. Rows too wide to hold are read once more by both, as far as the caches have lost them.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op
from workbench_kernels.jit import jit
from workbench_kernels.launch import WIDEST_ROW, Tile, cdiv, device_of, row_tile, wide_tile
from workbench_kernels.tuning import ByWidth, Table


@triton.jit
def _raised(tau, total, count):
    """The τ at which what is above this one adds up to 1; NaN where nothing is, as z are NaN."""
    raised = tl.maximum(tau, numerics.divide(total - 1.0, count))
    return tl.where(count > 0.0, raised, float("nan"))


@triton.jit
def _threshold(z):
    """τ of each row, and how many z are above it."""
    tau = tl.full([z.shape[0], 1], -1.0, tl.float32)
    count = tau
    dropped = 1
    while dropped > 0:
        above = z > tau
        before = count
        count = tl.sum(above.to(tl.float32), axis=1, keep_dims=True)
        total = tl.sum(tl.where(above, z, 0.0), axis=1, keep_dims=True)
        tau = _raised(tau, total, count)
        dropped = tl.max((count != before).to(tl.int32))
    return tau, count


@triton.jit
def _projected(z, tau):
    """z − τ where that is positive; NaN where τ is."""
    return tl.where(z <= tau, 0.0, z - tau)


@jit(do_not_specialize=["n_rows"])
def _sparsemax_fwd(Y, X, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    cols = tl.arange(0, BLOCK_COLS)[None, :]
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    mask = row_mask & (cols < n_cols)
    offsets = rows.to(tl.int64) * n_cols + cols
    x = tl.load(X + offsets, mask=mask, other=float("-inf")).to(tl.float32)
    row_max = tl.reduce(x, 1, numerics.maximum, keep_dims=True)
    z = x - tl.where(row_mask, row_max, 0.0)
    tau, _count = _threshold(z)
    tl.store(Y + offsets, _projected(z, tau).to(Y.dtype.element_ty), mask=mask)


@jit
def _sparsemax_fwd_wide(Y, X, n_cols, BLOCK_COLS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    X += row * n_cols
    Y += row * n_cols
    lanes = tl.arange(0, BLOCK_COLS)[None, :]
    largest = tl.full([1, BLOCK_COLS], float("-inf"), tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + lanes
        x = tl.load(X + cols, mask=cols < n_cols, other=float("-inf"), eviction_policy="evict_last")
        largest = numerics.maximum(largest, x.to(tl.float32))
    row_max = tl.reduce(largest, 1, numerics.maximum, keep_dims=True)
    tau, count = _threshold(largest - row_max)
    last = tl.cdiv(n_cols, BLOCK_COLS) - 1
    missed = 1
    while missed > 0:
        counts = tl.zeros([1, BLOCK_COLS], tl.float32)
        totals = tl.zeros([1, BLOCK_COLS], tl.float32)
        for step in range(0, last + 1):
            cols = (last - step) * BLOCK_COLS + lanes
            mask = cols < n_cols
            x = tl.load(X + cols, mask=mask, other=float("-inf"), eviction_policy="evict_last")
            z = x.to(tl.float32) - row_max
            above = z > tau
            counts += above.to(tl.float32)
            totals += tl.where(above, z, 0.0)
            y = _projected(z, tau).to(Y.dtype.element_ty)
            # Leaves the cache to rows that are read again.
            tl.store(Y + cols, y, mask=mask, eviction_policy="evict_first")
        before = count
        count = tl.sum(counts, axis=1, keep_dims=True)
        tau = _raised(tau, tl.sum(totals, axis=1, keep_dims=True), count)
        missed = tl.max((count != before).to(tl.int32))


@jit(do_not_specialize=["n_rows"])
def _sparsemax_bwd(DX, DY, Y, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    cols = tl.arange(0, BLOCK_COLS)[None, :]
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    mask = (rows < n_rows) & (cols < n_cols)
    offsets = rows.to(tl.int64) * n_cols + cols
    above = tl.load(Y + offsets, mask=mask, other=0.0) > 0.0
    dy = tl.load(DY + offsets, mask=above, other=0.0).to(tl.float32)
    count = tl.sum(above.to(tl.float32), axis=1, keep_dims=True)
    mean = numerics.divide(tl.sum(dy, axis=1, keep_dims=True), count)
    dx = tl.where(above, dy - mean, 0.0)
    tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)


@jit
def _sparsemax_bwd_wide(DX, DY, Y, n_cols, BLOCK_COLS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    DX += row * n_cols
    DY += row * n_cols
    Y += row * n_cols
    lanes = tl.arange(0, BLOCK_COLS)[None, :]
    counts = tl.zeros([1, BLOCK_COLS], tl.float32)
    totals = tl.zeros([1, BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + lanes
        y = tl.load(Y + cols, mask=cols < n_cols, other=0.0, eviction_policy="evict_last")
        above = y > 0.0
        counts += above.to(tl.float32)
        totals += tl.load(DY + cols, mask=above, other=0.0).to(tl.float32)
    count = tl.sum(counts, axis=1, keep_dims=True)
    mean = numerics.divide(tl.sum(totals, axis=1, keep_dims=True), count)
    last = tl.cdiv(n_cols, BLOCK_COLS) - 1
    for step in range(0, last + 1):
        cols = (last - step) * BLOCK_COLS + lanes
        mask = cols < n_cols
        above = tl.load(Y + cols, mask=mask, other=0.0, eviction_policy="evict_first") > 0.0
        dy = tl.load(DY + cols, mask=above, other=0.0).to(tl.float32)
        dx = tl.where(above, dy - mean, 0.0)
        tl.store(DX + cols, dx.to(DX.dtype.element_ty), mask=mask, eviction_policy="evict_first")


# The backward waits for y to know what of dy to read: with more and smaller programs others work
# meanwhile, so that wider rows than these are read in steps.
_WIDEST_HELD = 1024

# With what the kernels are launched; tuning.py says what it means and what may be tried.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {
        4096: {"per_thread": 32},
        32768: {"elements": 8192, "per_thread": 16},
        65536: {"elements": 16384},
    },
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 32},
    {
        2048: {"per_thread": 8},
        16384: {"elements": 2048},
        32768: {"elements": 4096},
        65536: {"elements": 8192},
    },
)


def forward(x: Tensor) -> Tensor:
    """Launch the forward kernel over all rows."""
    x = x.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    tile = _tile(n_cols, FORWARD)
    with device_of(x):
        if n_cols > WIDEST_ROW:
            _sparsemax_fwd_wide[(n_rows,)](
                y, x, n_cols, BLOCK_COLS=tile.block_cols, num_warps=tile.num_warps
            )
        else:
            _sparsemax_fwd[(cdiv(n_rows, tile.block_rows),)](
                y,
                x,
                n_rows,
                n_cols,
                BLOCK_ROWS=tile.block_rows,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
    return y


def backward(dy: Tensor, y: Tensor) -> Tensor:
    """The gradient of x."""
    dy, y = dy.contiguous(), y.contiguous()
    n_cols = y.shape[-1]
    n_rows = y.numel() // n_cols
    dx = torch.empty_like(y, memory_format=torch.contiguous_format)
    tile = _tile(n_cols, BACKWARD, _WIDEST_HELD)
    with device_of(y):
        if n_cols > _WIDEST_HELD:
            _sparsemax_bwd_wide[(n_rows,)](
                dx, dy, y, n_cols, BLOCK_COLS=tile.block_cols, num_warps=tile.num_warps
            )
        else:
            _sparsemax_bwd[(cdiv(n_rows, tile.block_rows),)](
                dx,
                dy,
                y,
                n_rows,
                n_cols,
                BLOCK_ROWS=tile.block_rows,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
    return dx


def _tile(n_cols: int, table: Table, widest: int = WIDEST_ROW) -> Tile:
    """Whole rows, or of one that is too wide to hold a part."""
    return wide_tile(n_cols, table) if n_cols > widest else row_tile(n_cols, table)


def _forward_fake(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward_fake(dy: Tensor, y: Tensor) -> Tensor:
    return torch.empty_like(y, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(output)


def _differentiate(ctx: Any, dy: Tensor) -> Any:
    (y,) = ctx.saved_tensors
    return sparsemax_backward(dy, y)


sparsemax = op.define("sparsemax", forward, fake=_forward_fake)
sparsemax_backward = op.define("sparsemax_backward", backward, fake=_backward_fake)
op.autograd("sparsemax", save=_save, backward=_differentiate)
