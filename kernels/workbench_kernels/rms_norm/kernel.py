"""rms_norm: y = x / √(mean(x²) + eps)·(weight + offset)

Forward, of a row of C elements:
    row_sum = Σⱼ x²
    rstd    = 1/√(row_sum / C + eps)
    y       = x · rstd · (weight + offset)

Backward:
    x̂       = x · rstd
    g       = dy · (weight + offset)
    slope   = Σⱼ g · x̂ / C · rstd²
    dx      = g · rstd − x · slope, which is (g − x̂ · Σⱼ g · x̂ / C) · rstd
    dweight = Σᵢ dy · x̂

x, weight, y: float32, bfloat16 or float16; arithmetic in float32. Every row's rstd is kept.
Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes 1. Rows wider than a
program can hold are read again, out of the L2 cache, and once more from memory for dweight.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op, pieces
from workbench_kernels.jit import jit
from workbench_kernels.launch import (
    WIDEST_ROW,
    Tile,
    cdiv,
    contiguous,
    device_of,
    per_row,
    piece_tile,
    programs,
    stages,
    wide_tile,
)
from workbench_kernels.partials import add_parts
from workbench_kernels.tuning import ByWidth


@triton.jit
def _weighted(x, WEIGHT, cols, col_mask, offset, ROUNDED: tl.constexpr):
    """x · (weight + offset); `ROUNDED`: a product of two numbers of the weight's dtype."""
    # No early return: Triton compiles what follows one too, which needs a weight.
    if WEIGHT is not None:
        weight = tl.load(WEIGHT + cols, mask=col_mask, other=0.0).to(tl.float32) + offset
        if ROUNDED:
            x = x.to(WEIGHT.dtype.element_ty).to(tl.float32)
            weight = weight.to(WEIGHT.dtype.element_ty).to(tl.float32)
        x = x * weight
    return x


@jit(do_not_specialize=["n_rows"])
def _rms_norm_fwd(
    Y,
    RSTD,
    X,
    WEIGHT,
    eps,
    offset,
    n_rows,
    n_cols,
    ROUNDED: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    at = rows.to(tl.int64) * n_cols
    x = pieces.load(X + at, row_mask, n_cols, PIECES, BLOCK_COLS)
    squares = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for piece in tl.static_range(PIECES):
        wide = x[piece].to(tl.float32)
        squares += wide * wide
    row_sum = tl.sum(squares, axis=1, keep_dims=True)
    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)
    tl.store(RSTD + rows, rstd, mask=row_mask)
    for piece in tl.static_range(PIECES):
        cols = pieces.columns(piece, BLOCK_COLS)
        col_mask = cols < n_cols
        y = _weighted(x[piece].to(tl.float32) * rstd, WEIGHT, cols, col_mask, offset, ROUNDED)
        tl.store(Y + at + cols, y.to(Y.dtype.element_ty), mask=row_mask & col_mask)


@jit
def _rms_norm_fwd_wide(
    Y,
    RSTD,
    X,
    WEIGHT,
    eps,
    offset,
    n_cols,
    ROUNDED: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """A row of any width, in two passes."""
    row = tl.program_id(0).to(tl.int64)
    X += row * n_cols
    Y += row * n_cols
    # Each lane has a sum of its own, so that no step waits for another thread.
    total = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        x = tl.load(X + cols, mask=cols < n_cols, other=0.0, eviction_policy="evict_last")
        x = x.to(tl.float32)
        total += x * x
    rstd = tl.rsqrt(numerics.divide(tl.sum(total, axis=0), n_cols) + eps)
    tl.store(RSTD + row, rstd)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        col_mask = cols < n_cols
        x = tl.load(X + cols, mask=col_mask, other=0.0, eviction_policy="evict_first")
        y = _weighted(x.to(tl.float32) * rstd, WEIGHT, cols, col_mask, offset, ROUNDED)
        tl.store(Y + cols, y.to(Y.dtype.element_ty), mask=col_mask)


@jit(do_not_specialize=["n_rows"])
def _rms_norm_bwd(
    DX,
    DWEIGHT_PARTS,
    DY,
    X,
    WEIGHT,
    RSTD,
    offset,
    n_rows,
    n_cols,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Every so many rows: whole ones, or without DX a block of their columns."""
    side = tl.program_id(1) * PIECES * BLOCK_COLS
    left = n_cols - side
    share = numerics.divide(1.0, n_cols)
    dweight = pieces.zeros(PIECES, BLOCK_ROWS, BLOCK_COLS)
    first, step = tl.program_id(0) * BLOCK_ROWS, tl.num_programs(0) * BLOCK_ROWS
    for start in tl.range(first, n_rows, step, num_stages=STAGES):
        rows = start + tl.arange(0, BLOCK_ROWS)[:, None]
        row_mask = rows < n_rows
        at = rows.to(tl.int64) * n_cols + side
        dy = pieces.load(DY + at, row_mask, left, PIECES, BLOCK_COLS)
        x = pieces.load(X + at, row_mask, left, PIECES, BLOCK_COLS)
        rstd = tl.load(RSTD + rows, mask=row_mask, other=0.0)
        # It always is; pieces.py says what the condition is for.
        if start < n_rows:
            products = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
            weighted = ()
            gs = ()
            for piece in tl.static_range(PIECES):
                above = dy[piece].to(tl.float32)
                xhat = x[piece].to(tl.float32) * rstd
                # The compiler drops a sum that is not stored.
                weighted = pieces.append(weighted, dweight[piece] + above * xhat)
                if DX is not None:
                    cols = pieces.places(rows, piece, BLOCK_COLS)
                    g = _weighted(above, WEIGHT, cols, cols < n_cols, offset, False)
                    products += g * xhat
                    gs = pieces.append(gs, g)
            dweight = weighted
            if DX is not None:
                slope = tl.sum(products, axis=1, keep_dims=True) * share * rstd * rstd
                for piece in tl.static_range(PIECES):
                    cols = pieces.places(rows, piece, BLOCK_COLS)
                    dx = gs[piece] * rstd - x[piece].to(tl.float32) * slope
                    mask = row_mask & (cols < n_cols)
                    tl.store(DX + at + cols, dx.to(DX.dtype.element_ty), mask=mask)
    if DWEIGHT_PARTS is not None:
        PARTS = DWEIGHT_PARTS + tl.program_id(0) * n_cols + side
        pieces.store_sums(PARTS, dweight, left, PIECES, BLOCK_COLS)


@jit
def _rms_norm_bwd_wide(DX, DY, X, WEIGHT, RSTD, offset, n_cols, BLOCK_COLS: tl.constexpr):
    """dx of a row of any width, in two passes."""
    row = tl.program_id(0).to(tl.int64)
    DX += row * n_cols
    DY += row * n_cols
    X += row * n_cols
    rstd = tl.load(RSTD + row)
    total = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        col_mask = cols < n_cols
        dy = tl.load(DY + cols, mask=col_mask, other=0.0, eviction_policy="evict_last")
        x = tl.load(X + cols, mask=col_mask, other=0.0, eviction_policy="evict_last")
        g = _weighted(dy.to(tl.float32), WEIGHT, cols, col_mask, offset, False)
        total += g * (x.to(tl.float32) * rstd)
    mean = numerics.divide(tl.sum(total, axis=0), n_cols)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        col_mask = cols < n_cols
        dy = tl.load(DY + cols, mask=col_mask, other=0.0, eviction_policy="evict_first")
        x = tl.load(X + cols, mask=col_mask, other=0.0, eviction_policy="evict_first")
        g = _weighted(dy.to(tl.float32), WEIGHT, cols, col_mask, offset, False)
        dx = (g - x.to(tl.float32) * rstd * mean) * rstd
        tl.store(DX + cols, dx.to(DX.dtype.element_ty), mask=col_mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row
# wider than WIDEST_ROW is read in blocks of so many elements.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {
        4096: {"per_thread": 32},
        16384: {"per_thread": 64},
        32768: {"elements": 8192, "per_thread": 32},
        65536: {"elements": 16384},
    },
)
BACKWARD = ByWidth(
    {"elements": 2048, "per_thread": 16, "stages": 1, "resident": 28},
    {
        1024: {"resident": 24},
        2048: {"elements": 4096, "stages": 2, "resident": 16},
        8192: {"per_thread": 40, "resident": 8},
        16384: {"per_thread": 32, "stages": 1, "resident": 16},
        32768: {"elements": 8192, "per_thread": 16, "stages": 3},
    },
)


def forward(
    x: Tensor, weight: Tensor | None, eps: float, offset: float, rounding: str
) -> tuple[Tensor, Tensor]:
    """y, then what the backward needs of each row, rstd."""
    x, weight = x.contiguous(), contiguous(weight)
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    rstd = per_row(x)
    rounded = rounding == "before_weight"
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, FORWARD)
        with device_of(x):
            _rms_norm_fwd_wide[(n_rows,)](
                y,
                rstd,
                x,
                weight,
                eps,
                offset,
                n_cols,
                ROUNDED=rounded,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
        return y, rstd
    tile = piece_tile(n_cols, FORWARD)
    with device_of(x):
        _rms_norm_fwd[(cdiv(n_rows, tile.block_rows),)](
            y,
            rstd,
            x,
            weight,
            eps,
            offset,
            n_rows,
            n_cols,
            ROUNDED=rounded,
            PIECES=tile.pieces,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return y, rstd


def backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, rstd: Tensor, offset: float, needs: list[bool]
) -> list[Tensor]:
    """The gradients that `needs` asks for, in the order of the inputs."""
    dy, x, weight = dy.contiguous(), x.contiguous(), contiguous(weight)
    n_cols = x.shape[-1]
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    if n_cols <= WIDEST_ROW:
        tile = piece_tile(n_cols, BACKWARD)
        dweight = _launch_bwd(dx, dy, x, weight, rstd, offset, tile, needs[1])
    else:
        tile = wide_tile(n_cols, BACKWARD)
        if dx is not None:
            _launch_bwd_wide(dx, dy, x, weight, rstd, offset, tile)
        dweight = _launch_bwd(None, dy, x, weight, rstd, offset, tile, True) if needs[1] else None
    return [grad for grad in (dx, dweight) if grad is not None]


def _launch_bwd(
    dx: Tensor | None,
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    tile: Tile,
    with_dweight: bool,
) -> Tensor | None:
    """Fill dx, and make dweight."""
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    blocks = cdiv(n_cols, tile.pieces * tile.block_cols)
    grid = (programs(x, n_rows, tile, blocks), blocks)
    parts = x.new_empty((grid[0], n_cols), dtype=torch.float32) if with_dweight else None
    with device_of(x):
        _rms_norm_bwd[grid](
            dx,
            parts,
            dy,
            x,
            weight,
            rstd,
            offset,
            n_rows,
            n_cols,
            PIECES=tile.pieces,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            STAGES=stages(tile, 2, x.dtype, conditional=True),
            num_warps=tile.num_warps,
        )
    return None if parts is None else add_parts(parts, x.shape[-1:], x.dtype)


def _launch_bwd_wide(
    dx: Tensor,
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    tile: Tile,
) -> None:
    """Fill dx."""
    n_cols = x.shape[-1]
    with device_of(x):
        _rms_norm_bwd_wide[(x.numel() // n_cols,)](
            dx,
            dy,
            x,
            weight,
            rstd,
            offset,
            n_cols,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )


def _forward_fake(
    x: Tensor, weight: Tensor | None, eps: float, offset: float, rounding: str
) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, per_row(x)


def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor | None, rstd: Tensor, offset: float, needs: list[bool]
) -> list[Tensor]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    grads = dx, x.new_empty(x.shape[-1:])
    return [grad for grad, needed in zip(grads, needs, strict=True) if needed]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, _eps, offset, _rounding = inputs
    _y, rstd = output
    ctx.save_for_backward(x, weight, rstd)
    ctx.offset = offset
    ctx.mark_non_differentiable(rstd)
    ctx.set_materialize_grads(False)  # else a launch makes zeros for each of them


def _differentiate(ctx: Any, dy: Tensor, _drstd: None) -> Any:
    x, weight, rstd = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:2])
    grads = rms_norm_backward(dy, x, weight, rstd, ctx.offset, needs)
    return *op.spread(grads, needs), None, None, None


rms_norm = op.define("rms_norm", forward, fake=_forward_fake)
rms_norm_backward = op.define("rms_norm_backward", backward, fake=_backward_fake)
op.autograd("rms_norm", save=_save, backward=_differentiate)
