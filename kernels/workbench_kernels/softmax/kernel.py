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
Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes 1.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op
from workbench_kernels.launch import WIDEST_ROW, device_of, row_tile, wide_tile
from workbench_kernels.tuning import ByWidth


@triton.jit(do_not_specialize=["n_rows"])
def _softmax_fwd(Y, X, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    cols = tl.arange(0, BLOCK_COLS)[None, :]
    col_mask = cols < n_cols
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    mask = row_mask & col_mask
    offsets = rows.to(tl.int64) * n_cols + cols
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    row_max = tl.reduce(tl.where(col_mask, x, float("-inf")), 1, numerics.maximum, keep_dims=True)
    exp = tl.exp(x - row_max)
    row_sum = tl.sum(tl.where(col_mask, exp, 0.0), axis=1, keep_dims=True)
    y = exp / row_sum
    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
def _softmax_bwd(DX, DY, Y, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    cols = tl.arange(0, BLOCK_COLS)[None, :]
    col_mask = cols < n_cols
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    mask = row_mask & col_mask
    offsets = rows.to(tl.int64) * n_cols + cols
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(Y + offsets, mask=mask, other=0.0).to(tl.float32)
    dy_y = dy * y
    row_sum = tl.sum(dy_y, axis=1, keep_dims=True)
    dx = -y * row_sum + dy_y
    tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
def _softmax_fwd_wide(Y, X, n_rows, n_cols, BLOCK_COLS: tl.constexpr):
    rows = tl.program_id(0) + tl.arange(0, 1)[:, None]
    row_mask = rows < n_rows
    row_max = tl.full([1, 1], float("-inf"), tl.float32)
    row_sum = tl.full([1, 1], 0.0, tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)[None, :]
        col_mask = cols < n_cols
        mask = row_mask & col_mask
        offsets = rows.to(tl.int64) * n_cols + cols
        x = tl.load(X + offsets, mask=mask, other=0.0, eviction_policy="evict_last").to(tl.float32)
        new_row_max = tl.maximum(
            row_max, tl.max(tl.where(col_mask, x, float("-inf")), axis=1, keep_dims=True)
        )
        shift = tl.where(new_row_max == float("-inf"), 0.0, new_row_max)
        row_sum = row_sum * tl.exp(row_max - shift) + tl.sum(
            tl.where(col_mask, tl.exp(x - shift), 0.0), axis=1, keep_dims=True
        )
        row_max = new_row_max
    row_max = tl.where((row_sum != row_sum) & (row_max < float("inf")), row_sum, row_max)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)[None, :]
        col_mask = cols < n_cols
        mask = row_mask & col_mask
        offsets = rows.to(tl.int64) * n_cols + cols
        x = tl.load(X + offsets, mask=mask, other=0.0, eviction_policy="evict_first").to(tl.float32)
        y = tl.exp(x - row_max) / row_sum
        tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["n_rows"])
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


# With what the kernels are launched; tuning.py says what it means and what may be tried.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {8192: {"per_thread": 32}, 32768: {"elements": 8192}, 65536: {"elements": 16384}},
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {8192: {"per_thread": 32}, 32768: {"elements": 8192}, 65536: {"elements": 16384}},
)


def forward(x: Tensor) -> Tensor:
    """Launch the forward kernel over all rows."""
    x = x.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, FORWARD)
        with device_of(x):
            _softmax_fwd_wide[(n_rows,)](
                y, x, n_rows, n_cols, BLOCK_COLS=tile.block_cols, num_warps=tile.num_warps
            )
        return y
    tile = row_tile(n_cols, FORWARD)
    grid = (triton.cdiv(n_rows, tile.block_rows),)
    with device_of(x):
        _softmax_fwd[grid](
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
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, BACKWARD)
        with device_of(y):
            _softmax_bwd_wide[(n_rows,)](
                dx, dy, y, n_rows, n_cols, BLOCK_COLS=tile.block_cols, num_warps=tile.num_warps
            )
        return dx
    tile = row_tile(n_cols, BACKWARD)
    grid = (triton.cdiv(n_rows, tile.block_rows),)
    with device_of(y):
        _softmax_bwd[grid](
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
