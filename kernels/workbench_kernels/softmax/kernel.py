"""softmax: y = eˣ / Σeˣ

Forward:
    row_max = maxⱼ x
    exp     = exp(x − row_max)
    row_sum = Σⱼ exp
    y       = exp / row_sum

Backward:
    dy_y    = dy · y
    row_sum = Σⱼ dy_y
    dx      = −y · row_sum + dy_y

x, y: float32, bfloat16 or float16; arithmetic in float32.
Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes 1; rows wider than a
program can hold are read a second time, out of the L2 cache.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from workbench_kernels import logits, numerics, op, pieces
from workbench_kernels.jit import jit
from workbench_kernels.launch import WIDEST_ROW, cdiv, device_of, piece_tile, wide_tile
from workbench_kernels.tuning import ByWidth


@jit(do_not_specialize=["n_rows"])
def _softmax_fwd(
    Y,
    X,
    n_rows,
    n_cols,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    at = rows.to(tl.int64) * n_cols
    x = pieces.load(X + at, row_mask, n_cols, PIECES, BLOCK_COLS, float("-inf"))
    top = tl.full([BLOCK_ROWS, BLOCK_COLS], float("-inf"), tl.float32)
    for piece in tl.static_range(PIECES):
        top = numerics.maximum(top, x[piece].to(tl.float32))
    row_max = tl.reduce(top, 1, numerics.maximum, keep_dims=True)
    total = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for piece in tl.static_range(PIECES):
        total += logits.exp(x[piece].to(tl.float32) - row_max)
    # A division for each element would take longer than to read it.
    share = numerics.divide(1.0, tl.sum(total, axis=1, keep_dims=True))
    for piece in tl.static_range(PIECES):
        cols = pieces.columns(piece, BLOCK_COLS)
        y = logits.exp(x[piece].to(tl.float32) - row_max) * share
        tl.store(Y + at + cols, y.to(Y.dtype.element_ty), mask=row_mask & (cols < n_cols))


@jit(do_not_specialize=["n_rows"])
def _softmax_bwd(
    DX,
    DY,
    Y,
    n_rows,
    n_cols,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    at = rows.to(tl.int64) * n_cols
    dy = pieces.load(DY + at, row_mask, n_cols, PIECES, BLOCK_COLS)
    y = pieces.load(Y + at, row_mask, n_cols, PIECES, BLOCK_COLS)
    total = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for piece in tl.static_range(PIECES):
        total += dy[piece].to(tl.float32) * y[piece].to(tl.float32)
    row_sum = tl.sum(total, axis=1, keep_dims=True)
    for piece in tl.static_range(PIECES):
        cols = pieces.columns(piece, BLOCK_COLS)
        share = y[piece].to(tl.float32)
        dx = dy[piece].to(tl.float32) * share - share * row_sum
        tl.store(DX + at + cols, dx.to(DX.dtype.element_ty), mask=row_mask & (cols < n_cols))


@jit
def _softmax_fwd_wide(Y, X, n_cols, LANES: tl.constexpr, DEPTH: tl.constexpr):
    """A row of any width, in two passes over blocks of LANES · DEPTH columns."""
    row = tl.program_id(0).to(tl.int64)
    X += row * n_cols
    Y += row * n_cols
    block = tl.arange(0, LANES)[:, None] * DEPTH + tl.arange(0, DEPTH)[None, :]
    # Each lane has a maximum and a sum of its own, so that no step waits for another thread. The
    # maximum begins with a number: what is nothing but -inf then has a sum of 0, and y is NaN.
    top = tl.full([LANES, 1], -3.4028234663852886e38, tl.float32)
    total = tl.zeros([LANES, 1], tl.float32)
    for start in range(0, n_cols, LANES * DEPTH):
        cols = start + block
        x = tl.load(X + cols, mask=cols < n_cols, other=float("-inf"), eviction_policy="evict_last")
        x = x.to(tl.float32)
        higher = tl.maximum(top, tl.max(x, axis=1, keep_dims=True))
        total *= logits.exp(top - higher)
        total += tl.sum(logits.exp(x - higher), axis=1, keep_dims=True)
        top = higher
    row_max = tl.max(top, axis=0, keep_dims=True)
    row_sum = tl.sum(total * logits.exp(top - row_max), axis=0, keep_dims=True)
    share = numerics.divide(1.0, row_sum)
    for start in range(0, n_cols, LANES * DEPTH):
        cols = start + block
        mask = cols < n_cols
        x = tl.load(X + cols, mask=mask, other=0.0, eviction_policy="evict_first")
        y = logits.exp(x.to(tl.float32) - row_max) * share
        # Not read again soon: what is written leaves the cache to the rows that are.
        tl.store(Y + cols, y.to(Y.dtype.element_ty), mask=mask, eviction_policy="evict_first")


@jit(do_not_specialize=["n_rows"])
def _softmax_bwd_wide(DX, DY, Y, n_rows, n_cols, BLOCK_COLS: tl.constexpr):
    rows = tl.program_id(0) + tl.arange(0, 1)[:, None]
    row_mask = rows < n_rows
    row_sum = tl.full([1, 1], 0.0, tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)[None, :]
        col_mask = cols < n_cols
        mask = row_mask & col_mask
        offsets = rows.to(tl.int64) * n_cols + cols
        dy = tl.load(DY + offsets, mask=mask, other=0.0, eviction_policy="evict_last").to(
            tl.float32
        )
        y = tl.load(Y + offsets, mask=mask, other=0.0, eviction_policy="evict_last").to(tl.float32)
        row_sum += tl.sum(dy * y, axis=1, keep_dims=True)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)[None, :]
        col_mask = cols < n_cols
        mask = row_mask & col_mask
        offsets = rows.to(tl.int64) * n_cols + cols
        dy = tl.load(DY + offsets, mask=mask, other=0.0, eviction_policy="evict_first").to(
            tl.float32
        )
        y = tl.load(Y + offsets, mask=mask, other=0.0, eviction_policy="evict_first").to(tl.float32)
        dx = -y * row_sum + dy * y
        tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row
# wider than WIDEST_ROW is read in blocks of so many elements.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {
        8192: {"per_thread": 32},
        32768: {"elements": 16384, "per_thread": 16},
        131072: {"elements": 32768, "per_thread": 32},
    },
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {8192: {"per_thread": 32}, 32768: {"elements": 32768}},
)


def forward(x: Tensor) -> Tensor:
    """Launch the forward kernel over all rows."""
    x = x.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, FORWARD)
        depth = 16 // x.element_size()  # what a thread loads at once
        with device_of(x):
            _softmax_fwd_wide[(n_rows,)](
                y,
                x,
                n_cols,
                LANES=tile.block_cols // depth,
                DEPTH=depth,
                num_warps=tile.num_warps,
            )
        return y
    tile = piece_tile(n_cols, FORWARD)
    grid = (cdiv(n_rows, tile.block_rows),)
    with device_of(x):
        _softmax_fwd[grid](
            y,
            x,
            n_rows,
            n_cols,
            PIECES=tile.pieces,
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
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, BACKWARD)
        with device_of(y):
            _softmax_bwd_wide[(n_rows,)](
                dx, dy, y, n_rows, n_cols, BLOCK_COLS=tile.block_cols, num_warps=tile.num_warps
            )
        return dx
    tile = piece_tile(n_cols, BACKWARD)
    grid = (cdiv(n_rows, tile.block_rows),)
    with device_of(y):
        _softmax_bwd[grid](
            dx,
            dy,
            y,
            n_rows,
            n_cols,
            PIECES=tile.pieces,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return dx


def _forward_fake(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward_fake(dy: Tensor, y: Tensor) -> Tensor:
    return torch.empty_like(y, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    (_x,) = inputs
    y = output
    ctx.save_for_backward(y)


def _differentiate(ctx: Any, dy: Tensor) -> Any:
    (y,) = ctx.saved_tensors
    return softmax_backward(dy, y)


softmax = op.define("softmax", forward, fake=_forward_fake)
softmax_backward = op.define("softmax_backward", backward, fake=_backward_fake)
op.autograd("softmax", save=_save, backward=_differentiate)
