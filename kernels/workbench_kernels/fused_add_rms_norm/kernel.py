"""fused_add_rms_norm: y = s / √(mean(s²) + eps)·(weight + offset), and s = x + residual

Forward, of a row of C elements:
    s       = x + residual, rounded to their dtype
    row_sum = Σⱼ s²
    rstd    = 1/√(row_sum / C + eps)
    y       = s · rstd · (weight + offset)

Backward, ds what comes back to s itself:
    ŝ       = s · rstd
    g       = dy · (weight + offset)
    slope   = Σⱼ g · ŝ / C · rstd²
    dx      = g · rstd − s · slope + ds, and dresidual is the same
    dweight = Σᵢ dy · ŝ

x, residual, weight, y, s: float32, bfloat16 or float16; arithmetic in float32. Every row's rstd is
kept. Full-size transfers: forward reads 2 and writes 2, backward reads 3 and writes 1. Rows wider
than a program can hold are read again, out of the L2 cache, and once more from memory for dweight.
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
def _weighted(s, WEIGHT, cols, n_cols, offset, ROUNDED: tl.constexpr):
    """s · (weight + offset); `ROUNDED`: a product of two numbers of the weight's dtype."""
    # No early return: Triton compiles what follows one too, which needs a weight.
    if WEIGHT is not None:
        weight = tl.load(WEIGHT + cols, mask=cols < n_cols, other=0.0).to(tl.float32) + offset
        if ROUNDED:
            s = s.to(WEIGHT.dtype.element_ty).to(tl.float32)
            weight = weight.to(WEIGHT.dtype.element_ty).to(tl.float32)
        s = s * weight
    return s


@jit(do_not_specialize=["n_rows"])
def _fused_add_rms_norm_fwd(
    Y,
    S,
    RSTD,
    X,
    RESIDUAL,
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
    residual = pieces.load(RESIDUAL + at, row_mask, n_cols, PIECES, BLOCK_COLS)
    squares = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    totals = ()
    for piece in tl.static_range(PIECES):
        cols = pieces.columns(piece, BLOCK_COLS)
        total = x[piece].to(tl.float32) + residual[piece].to(tl.float32)
        rounded = total.to(S.dtype.element_ty)
        tl.store(S + at + cols, rounded, mask=row_mask & (cols < n_cols))
        s = rounded.to(tl.float32)
        squares += s * s
        totals = pieces.append(totals, rounded)
    row_sum = tl.sum(squares, axis=1, keep_dims=True)
    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)
    tl.store(RSTD + rows, rstd, mask=row_mask)
    for piece in tl.static_range(PIECES):
        cols = pieces.columns(piece, BLOCK_COLS)
        s = totals[piece].to(tl.float32)
        y = _weighted(s * rstd, WEIGHT, cols, n_cols, offset, ROUNDED)
        tl.store(Y + at + cols, y.to(Y.dtype.element_ty), mask=row_mask & (cols < n_cols))


@triton.jit
def _sum(X, RESIDUAL, cols, n_cols, EVICTION: tl.constexpr):
    """x + residual in their dtype."""
    x = tl.load(X + cols, mask=cols < n_cols, other=0.0, eviction_policy=EVICTION)
    residual = tl.load(RESIDUAL + cols, mask=cols < n_cols, other=0.0, eviction_policy=EVICTION)
    return (x.to(tl.float32) + residual.to(tl.float32)).to(X.dtype.element_ty)


@jit
def _fused_add_rms_norm_fwd_wide(
    Y,
    S,
    RSTD,
    X,
    RESIDUAL,
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
    RESIDUAL += row * n_cols
    S += row * n_cols
    Y += row * n_cols
    # Each lane has a sum of its own, so that no step waits for another thread.
    squares = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        s = _sum(X, RESIDUAL, cols, n_cols, "evict_last").to(tl.float32)
        squares += s * s
    rstd = tl.rsqrt(numerics.divide(tl.sum(squares, axis=0), n_cols) + eps)
    tl.store(RSTD + row, rstd)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        s = _sum(X, RESIDUAL, cols, n_cols, "evict_first")
        tl.store(S + cols, s, mask=cols < n_cols)
        y = _weighted(s.to(tl.float32) * rstd, WEIGHT, cols, n_cols, offset, ROUNDED)
        tl.store(Y + cols, y.to(Y.dtype.element_ty), mask=cols < n_cols)


@jit(do_not_specialize=["n_rows"])
def _fused_add_rms_norm_bwd(
    DX,
    DWEIGHT_PARTS,
    DY,
    DS,
    S,
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
        s = pieces.load(S + at, row_mask, left, PIECES, BLOCK_COLS)
        rstd = tl.load(RSTD + rows, mask=row_mask, other=0.0)
        # It always is; pieces.py says what the condition is for.
        if start < n_rows:
            if DS is not None:
                # Of use only after the sums: till then it is on its way.
                ds = pieces.load(DS + at, row_mask, left, PIECES, BLOCK_COLS)
            products = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
            weighted = ()
            gs = ()
            for piece in tl.static_range(PIECES):
                above = dy[piece].to(tl.float32)
                shat = s[piece].to(tl.float32) * rstd
                # The compiler drops a sum that is not stored.
                weighted = pieces.append(weighted, dweight[piece] + above * shat)
                if DX is not None:
                    cols = pieces.places(rows, piece, BLOCK_COLS)
                    g = _weighted(above, WEIGHT, cols, n_cols, offset, False)
                    products += g * shat
                    gs = pieces.append(gs, g)
            dweight = weighted
            if DX is not None:
                slope = tl.sum(products, axis=1, keep_dims=True) * share * rstd * rstd
                for piece in tl.static_range(PIECES):
                    cols = pieces.places(rows, piece, BLOCK_COLS)
                    dx = gs[piece] * rstd - s[piece].to(tl.float32) * slope
                    if DS is not None:
                        dx += ds[piece].to(tl.float32)
                    mask = row_mask & (cols < n_cols)
                    tl.store(DX + at + cols, dx.to(DX.dtype.element_ty), mask=mask)
    if DWEIGHT_PARTS is not None:
        PARTS = DWEIGHT_PARTS + tl.program_id(0) * n_cols + side
        pieces.store_sums(PARTS, dweight, left, PIECES, BLOCK_COLS)


@jit
def _fused_add_rms_norm_bwd_wide(
    DX, DY, DS, S, WEIGHT, RSTD, offset, n_cols, BLOCK_COLS: tl.constexpr
):
    """dx of a row of any width, in two passes."""
    row = tl.program_id(0).to(tl.int64)
    DX += row * n_cols
    DY += row * n_cols
    S += row * n_cols
    rstd = tl.load(RSTD + row)
    products = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        col_mask = cols < n_cols
        dy = tl.load(DY + cols, mask=col_mask, other=0.0, eviction_policy="evict_last")
        s = tl.load(S + cols, mask=col_mask, other=0.0, eviction_policy="evict_last")
        g = _weighted(dy.to(tl.float32), WEIGHT, cols, n_cols, offset, False)
        products += g * (s.to(tl.float32) * rstd)
    mean = numerics.divide(tl.sum(products, axis=0), n_cols)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        col_mask = cols < n_cols
        dy = tl.load(DY + cols, mask=col_mask, other=0.0, eviction_policy="evict_first")
        s = tl.load(S + cols, mask=col_mask, other=0.0, eviction_policy="evict_first")
        g = _weighted(dy.to(tl.float32), WEIGHT, cols, n_cols, offset, False)
        dx = (g - s.to(tl.float32) * rstd * mean) * rstd
        if DS is not None:
            dx += tl.load(DS + row * n_cols + cols, mask=col_mask, other=0.0).to(tl.float32)
        tl.store(DX + cols, dx.to(DX.dtype.element_ty), mask=col_mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row
# wider than WIDEST_ROW is read in blocks of so many elements.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {
        4096: {"per_thread": 8},
        8192: {"per_thread": 32},
        32768: {"elements": 8192},
        65536: {"elements": 16384},
    },
)
BACKWARD = ByWidth(
    {"elements": 2048, "per_thread": 16, "stages": 2, "resident": 20, "registers": 96},
    {
        1024: {"elements": 1024, "stages": 1, "resident": 24, "registers": 255},
        2048: {"elements": 4096, "stages": 2, "resident": 16},
        8192: {"per_thread": 40, "resident": 8},
        16384: {"per_thread": 32, "stages": 1, "resident": 16},
        32768: {"elements": 8192, "per_thread": 16, "stages": 3},
    },
)


def forward(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float, offset: float, rounding: str
) -> tuple[Tensor, Tensor, Tensor]:
    """y, s, then what the backward needs of each row, rstd."""
    x, residual, weight = x.contiguous(), residual.contiguous(), contiguous(weight)
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y, s, rstd = _outputs(x)
    rounded = rounding == "before_weight"
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, FORWARD)
        with device_of(x):
            _fused_add_rms_norm_fwd_wide[(n_rows,)](
                y,
                s,
                rstd,
                x,
                residual,
                weight,
                eps,
                offset,
                n_cols,
                ROUNDED=rounded,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
        return y, s, rstd
    tile = piece_tile(n_cols, FORWARD)
    with device_of(x):
        _fused_add_rms_norm_fwd[(cdiv(n_rows, tile.block_rows),)](
            y,
            s,
            rstd,
            x,
            residual,
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
    return y, s, rstd


def backward(
    dy: Tensor,
    ds: Tensor | None,
    s: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    needs: list[bool],
) -> list[Tensor]:
    """Of the gradients of s and weight those that `needs` asks for."""
    dy, ds, weight = dy.contiguous(), contiguous(ds), contiguous(weight)
    n_cols = s.shape[-1]
    dx = torch.empty_like(s) if needs[0] else None
    if n_cols <= WIDEST_ROW:
        tile = piece_tile(n_cols, BACKWARD)
        dweight = _launch_bwd(dx, dy, ds, s, weight, rstd, offset, tile, needs[1])
    else:
        tile = wide_tile(n_cols, BACKWARD)
        if dx is not None:
            _launch_bwd_wide(dx, dy, ds, s, weight, rstd, offset, tile)
        dweight = None
        if needs[1]:
            dweight = _launch_bwd(None, dy, None, s, weight, rstd, offset, tile, True)
    return [grad for grad in (dx, dweight) if grad is not None]


def _launch_bwd(
    dx: Tensor | None,
    dy: Tensor,
    ds: Tensor | None,
    s: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    tile: Tile,
    with_dweight: bool,
) -> Tensor | None:
    """Fill dx, and make dweight."""
    n_cols = s.shape[-1]
    n_rows = s.numel() // n_cols
    blocks = cdiv(n_cols, tile.pieces * tile.block_cols)
    grid = (programs(s, n_rows, tile, blocks), blocks)
    parts = s.new_empty((grid[0], n_cols), dtype=torch.float32) if with_dweight else None
    with device_of(s):
        _fused_add_rms_norm_bwd[grid](
            dx,
            parts,
            dy,
            ds,
            s,
            weight,
            rstd,
            offset,
            n_rows,
            n_cols,
            PIECES=tile.pieces,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            STAGES=stages(tile, 2, s.dtype, conditional=True),
            num_warps=tile.num_warps,
            maxnreg=tile.registers,
        )
    return None if parts is None else add_parts(parts, s.shape[-1:], s.dtype)


def _launch_bwd_wide(
    dx: Tensor,
    dy: Tensor,
    ds: Tensor | None,
    s: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    tile: Tile,
) -> None:
    """Fill dx."""
    n_cols = s.shape[-1]
    with device_of(s):
        _fused_add_rms_norm_bwd_wide[(s.numel() // n_cols,)](
            dx,
            dy,
            ds,
            s,
            weight,
            rstd,
            offset,
            n_cols,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )


def _outputs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y, s = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
    return y, s, per_row(x)


def _forward_fake(
    x: Tensor, residual: Tensor, weight: Tensor | None, eps: float, offset: float, rounding: str
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(x)


def _backward_fake(
    dy: Tensor,
    ds: Tensor | None,
    s: Tensor,
    weight: Tensor | None,
    rstd: Tensor,
    offset: float,
    needs: list[bool],
) -> list[Tensor]:
    grads = torch.empty_like(s), s.new_empty(s.shape[-1:])
    return [grad for grad, needed in zip(grads, needs, strict=True) if needed]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _x, _residual, weight, _eps, offset, _rounding = inputs
    _y, s, rstd = output
    ctx.save_for_backward(s, weight, rstd)
    ctx.offset = offset
    ctx.mark_non_differentiable(rstd)
    ctx.set_materialize_grads(False)  # else a launch makes zeros for each of them


def _differentiate(ctx: Any, dy: Tensor | None, ds: Tensor | None, _drstd: None) -> Any:
    s, weight, rstd = ctx.saved_tensors
    for_x, for_residual, for_weight = ctx.needs_input_grad[:3]
    if dy is None:
        return ds, ds, None, None, None, None
    needs = [for_x or for_residual, for_weight]
    grads = fused_add_rms_norm_backward(dy, ds, s, weight, rstd, ctx.offset, needs)
    dx, dweight = op.spread(grads, needs)
    return dx, dx, dweight, None, None, None


fused_add_rms_norm = op.define("fused_add_rms_norm", forward, fake=_forward_fake)
fused_add_rms_norm_backward = op.define(
    "fused_add_rms_norm_backward", backward, fake=_backward_fake
)
op.autograd("fused_add_rms_norm", save=_save, backward=_differentiate)
