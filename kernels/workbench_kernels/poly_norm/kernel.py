"""poly_norm: y = weight₀·n(x³) + weight₁·n(x²) + weight₂·n(x) + bias, n(u) = u / √(mean(u²) + eps)

Forward, of a row of C elements, with p = 1, 2, 3 and w₁, w₂, w₃ = weight₂, weight₁, weight₀:
    scale   = 2⁻ᵉ with 2ᵉ ≤ max|x|, or 1 where that is less than 1
    z       = x · scale
    rₚ      = 1/√(Σⱼ z²ᵖ / C + eps · scale²ᵖ)
    nₚ      = zᵖ · rₚ, which is n(xᵖ)
    y       = Σₚ wₚ · nₚ + bias

x⁶ leaves float32 at two million; z⁶ is less than 64, and a power of two rounds nothing.

Backward:
    tₚ      = Σⱼ dy · nₚ
    dx      = scale · Σₚ p · zᵖ⁻¹ · (aₚ · dy − bₚ · zᵖ), aₚ = wₚ · rₚ and bₚ = aₚ · rₚ · tₚ / C
    dw      = Σᵢ tₚ
    dbias   = Σᵢ Σⱼ dy

x, weight, bias, y: float32, bfloat16 or float16; arithmetic in float32. Every row's scale and its r
are kept. Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes 1. Rows
wider than a program can hold are read again, out of the L2 cache.
Source: Zhuo, Wang, Zeng, Li, Zhou, Ma: Polynomial Composition Activations (2024).
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
    cdiv,
    device_of,
    piece_tile,
    programs,
    stages,
    wide_tile,
)
from workbench_kernels.partials import add_all_parts
from workbench_kernels.tuning import ByWidth


@triton.jit
def _scale(largest):
    """The power of two that brings a row's largest size below 2; 1 if that is small or infinite."""
    exponent = largest.to(tl.int32, bitcast=True) >> 23
    down = ((254 - tl.minimum(exponent, 253)) << 23).to(tl.float32, bitcast=True)
    return tl.where((exponent < 127) | (exponent > 254), 1.0, down)


@triton.jit
def _rstds(first, second, third, scale, eps, n_cols):
    """r of each power, of the sums of z², z⁴ and z⁶."""
    scale_2 = scale * scale
    r_1 = tl.rsqrt(numerics.divide(first, n_cols) + eps * scale_2)
    r_2 = tl.rsqrt(numerics.divide(second, n_cols) + eps * scale_2 * scale_2)
    r_3 = tl.rsqrt(numerics.divide(third, n_cols) + eps * scale_2 * scale_2 * scale_2)
    return r_1, r_2, r_3


@triton.jit
def _weights(WEIGHT):
    """w of each power; weight begins with the highest."""
    w_3, w_2, w_1 = tl.load(WEIGHT), tl.load(WEIGHT + 1), tl.load(WEIGHT + 2)
    return w_1.to(tl.float32), w_2.to(tl.float32), w_3.to(tl.float32)


@triton.jit
def _polynomial(z, a_1, a_2, a_3):
    """Σₚ aₚ · zᵖ"""
    return z * (a_1 + z * (a_2 + z * a_3))


@triton.jit
def _gradient(g, z, a_1, a_2, a_3, b_1, b_2, b_3):
    """Σₚ p · zᵖ⁻¹ · (aₚ · g − bₚ · zᵖ)"""
    square = z * z
    rising = a_1 + z * (2.0 * a_2 + z * (3.0 * a_3))
    return g * rising - z * (b_1 + square * (2.0 * b_2 + square * (3.0 * b_3)))


@jit(do_not_specialize=["n_rows"])
def _poly_norm_fwd(
    Y,
    STATS,
    X,
    WEIGHT,
    BIAS,
    eps,
    n_rows,
    n_cols,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    at = rows.to(tl.int64) * n_cols
    x = pieces.load(X + at, row_mask, n_cols, PIECES, BLOCK_COLS)
    w_1, w_2, w_3 = _weights(WEIGHT)
    bias = tl.load(BIAS).to(tl.float32)
    sizes = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for piece in tl.static_range(PIECES):
        sizes = tl.maximum(sizes, tl.abs(x[piece].to(tl.float32)))
    scale = _scale(tl.max(sizes, axis=1, keep_dims=True))
    first = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    second = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    third = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for piece in tl.static_range(PIECES):
        z = x[piece].to(tl.float32) * scale
        square = z * z
        first += square
        second += square * square
        third += square * square * square
    r_1, r_2, r_3 = _rstds(
        tl.sum(first, axis=1, keep_dims=True),
        tl.sum(second, axis=1, keep_dims=True),
        tl.sum(third, axis=1, keep_dims=True),
        scale,
        eps,
        n_cols,
    )
    STATS += 4 * rows.to(tl.int64)
    tl.store(STATS, scale, mask=row_mask)
    tl.store(STATS + 1, r_1, mask=row_mask)
    tl.store(STATS + 2, r_2, mask=row_mask)
    tl.store(STATS + 3, r_3, mask=row_mask)
    for piece in tl.static_range(PIECES):
        cols = pieces.columns(piece, BLOCK_COLS)
        z = x[piece].to(tl.float32) * scale
        y = _polynomial(z, w_1 * r_1, w_2 * r_2, w_3 * r_3) + bias
        tl.store(Y + at + cols, y.to(Y.dtype.element_ty), mask=row_mask & (cols < n_cols))


@jit
def _poly_norm_fwd_wide(Y, STATS, X, WEIGHT, BIAS, eps, n_cols, BLOCK_COLS: tl.constexpr):
    """A row of any width, in three passes."""
    row = tl.program_id(0).to(tl.int64)
    X += row * n_cols
    Y += row * n_cols
    w_1, w_2, w_3 = _weights(WEIGHT)
    bias = tl.load(BIAS).to(tl.float32)
    sizes = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        x = tl.load(X + cols, mask=cols < n_cols, other=0.0, eviction_policy="evict_last")
        sizes = tl.maximum(sizes, tl.abs(x.to(tl.float32)))
    scale = _scale(tl.max(sizes, axis=0))
    first = tl.zeros([BLOCK_COLS], tl.float32)
    second = tl.zeros([BLOCK_COLS], tl.float32)
    third = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        x = tl.load(X + cols, mask=cols < n_cols, other=0.0, eviction_policy="evict_last")
        z = x.to(tl.float32) * scale
        square = z * z
        first += square
        second += square * square
        third += square * square * square
    r_1, r_2, r_3 = _rstds(
        tl.sum(first, axis=0), tl.sum(second, axis=0), tl.sum(third, axis=0), scale, eps, n_cols
    )
    tl.store(STATS + 4 * row, scale)
    tl.store(STATS + 4 * row + 1, r_1)
    tl.store(STATS + 4 * row + 2, r_2)
    tl.store(STATS + 4 * row + 3, r_3)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        x = tl.load(X + cols, mask=cols < n_cols, other=0.0, eviction_policy="evict_first")
        z = x.to(tl.float32) * scale
        y = _polynomial(z, w_1 * r_1, w_2 * r_2, w_3 * r_3) + bias
        tl.store(Y + cols, y.to(Y.dtype.element_ty), mask=cols < n_cols)


@triton.jit
def _exact(g, X):
    """g as it is summed up for dbias: in float64 where X is float32. What is summed is exact there,
    so the sum alone decides how near dbias is, and it may be small beside what it is the sum of.
    """
    if X.dtype.element_ty == tl.float32:
        g = g.to(tl.float64)
    return g


@jit(do_not_specialize=["n_rows"])
def _poly_norm_bwd(
    DX,
    WEIGHT_PARTS,
    BIAS_PARTS,
    DY,
    X,
    WEIGHT,
    STATS,
    n_rows,
    n_cols,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Every so many rows."""
    w_1, w_2, w_3 = _weights(WEIGHT)
    dw_1 = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    dw_2 = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    dw_3 = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    dbias = _exact(tl.zeros([BLOCK_ROWS, 1], tl.float32), X)
    begin, step = tl.program_id(0) * BLOCK_ROWS, tl.num_programs(0) * BLOCK_ROWS
    for start in tl.range(begin, n_rows, step, num_stages=STAGES):
        rows = start + tl.arange(0, BLOCK_ROWS)[:, None]
        row_mask = rows < n_rows
        at = rows.to(tl.int64) * n_cols
        dy = pieces.load(DY + at, row_mask, n_cols, PIECES, BLOCK_COLS)
        x = pieces.load(X + at, row_mask, n_cols, PIECES, BLOCK_COLS)
        stats = STATS + 4 * rows.to(tl.int64)
        scale = tl.load(stats, mask=row_mask, other=0.0)
        r_1 = tl.load(stats + 1, mask=row_mask, other=0.0)
        r_2 = tl.load(stats + 2, mask=row_mask, other=0.0)
        r_3 = tl.load(stats + 3, mask=row_mask, other=0.0)
        total = _exact(tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32), X)
        first = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
        second = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
        third = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
        for piece in tl.static_range(PIECES):
            z = x[piece].to(tl.float32) * scale
            g = dy[piece].to(tl.float32)
            total += _exact(g, X)
            first += g * z
            second += g * (z * z)
            third += g * (z * z * z)
        t_1 = r_1 * tl.sum(first, axis=1, keep_dims=True)
        t_2 = r_2 * tl.sum(second, axis=1, keep_dims=True)
        t_3 = r_3 * tl.sum(third, axis=1, keep_dims=True)
        dw_1 += t_1
        dw_2 += t_2
        dw_3 += t_3
        dbias += tl.sum(total, axis=1, keep_dims=True)
        if DX is not None:
            a_1, a_2, a_3 = w_1 * r_1, w_2 * r_2, w_3 * r_3
            b_1 = a_1 * r_1 * numerics.divide(t_1, n_cols)
            b_2 = a_2 * r_2 * numerics.divide(t_2, n_cols)
            b_3 = a_3 * r_3 * numerics.divide(t_3, n_cols)
            for piece in tl.static_range(PIECES):
                cols = pieces.columns(piece, BLOCK_COLS)
                z = x[piece].to(tl.float32) * scale
                g = dy[piece].to(tl.float32)
                dx = scale * _gradient(g, z, a_1, a_2, a_3, b_1, b_2, b_3)
                mask = row_mask & (cols < n_cols)
                tl.store(DX + at + cols, dx.to(DX.dtype.element_ty), mask=mask)
    if WEIGHT_PARTS is not None:
        WEIGHT_PARTS += tl.program_id(0) * 3
        tl.store(WEIGHT_PARTS, tl.sum(tl.sum(dw_3, axis=1), axis=0))
        tl.store(WEIGHT_PARTS + 1, tl.sum(tl.sum(dw_2, axis=1), axis=0))
        tl.store(WEIGHT_PARTS + 2, tl.sum(tl.sum(dw_1, axis=1), axis=0))
    if BIAS_PARTS is not None:
        part = tl.sum(tl.sum(dbias, axis=1), axis=0)
        tl.store(BIAS_PARTS + tl.program_id(0), part.to(tl.float32))


@jit(do_not_specialize=["n_rows"])
def _poly_norm_bwd_wide(
    DX,
    WEIGHT_PARTS,
    BIAS_PARTS,
    DY,
    X,
    WEIGHT,
    STATS,
    n_rows,
    n_cols,
    BLOCK_COLS: tl.constexpr,
):
    """Every so many rows of any width, each in two passes."""
    w_1, w_2, w_3 = _weights(WEIGHT)
    dw_1, dw_2, dw_3 = 0.0, 0.0, 0.0
    dbias = _exact(tl.zeros([BLOCK_COLS], tl.float32), X)
    for row in range(tl.program_id(0), n_rows, tl.num_programs(0)):
        at = tl.cast(row, tl.int64) * n_cols
        scale, r_1 = tl.load(STATS + 4 * row), tl.load(STATS + 4 * row + 1)
        r_2, r_3 = tl.load(STATS + 4 * row + 2), tl.load(STATS + 4 * row + 3)
        first = tl.zeros([BLOCK_COLS], tl.float32)
        second = tl.zeros([BLOCK_COLS], tl.float32)
        third = tl.zeros([BLOCK_COLS], tl.float32)
        for start in range(0, n_cols, BLOCK_COLS):
            cols = start + tl.arange(0, BLOCK_COLS)
            mask = cols < n_cols
            dy = tl.load(DY + at + cols, mask=mask, other=0.0, eviction_policy="evict_last")
            x = tl.load(X + at + cols, mask=mask, other=0.0, eviction_policy="evict_last")
            z, g = x.to(tl.float32) * scale, dy.to(tl.float32)
            dbias += _exact(g, X)
            first += g * z
            second += g * (z * z)
            third += g * (z * z * z)
        t_1 = r_1 * tl.sum(first, axis=0)
        t_2 = r_2 * tl.sum(second, axis=0)
        t_3 = r_3 * tl.sum(third, axis=0)
        dw_1 += t_1
        dw_2 += t_2
        dw_3 += t_3
        if DX is not None:
            a_1, a_2, a_3 = w_1 * r_1, w_2 * r_2, w_3 * r_3
            b_1 = a_1 * r_1 * numerics.divide(t_1, n_cols)
            b_2 = a_2 * r_2 * numerics.divide(t_2, n_cols)
            b_3 = a_3 * r_3 * numerics.divide(t_3, n_cols)
            for start in range(0, n_cols, BLOCK_COLS):
                cols = start + tl.arange(0, BLOCK_COLS)
                mask = cols < n_cols
                dy = tl.load(DY + at + cols, mask=mask, other=0.0, eviction_policy="evict_first")
                x = tl.load(X + at + cols, mask=mask, other=0.0, eviction_policy="evict_first")
                z, g = x.to(tl.float32) * scale, dy.to(tl.float32)
                dx = scale * _gradient(g, z, a_1, a_2, a_3, b_1, b_2, b_3)
                tl.store(DX + at + cols, dx.to(DX.dtype.element_ty), mask=mask)
    if WEIGHT_PARTS is not None:
        WEIGHT_PARTS += tl.program_id(0) * 3
        tl.store(WEIGHT_PARTS, dw_3)
        tl.store(WEIGHT_PARTS + 1, dw_2)
        tl.store(WEIGHT_PARTS + 2, dw_1)
    if BIAS_PARTS is not None:
        tl.store(BIAS_PARTS + tl.program_id(0), tl.sum(dbias, axis=0).to(tl.float32))


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row
# wider than WIDEST_ROW is read in blocks of so many elements.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 16},
    {
        2048: {"per_thread": 8},
        4096: {"elements": 2048, "per_thread": 32},
        32768: {"elements": 8192},
        65536: {"elements": 16384},
    },
)
BACKWARD = ByWidth(
    {"elements": 8192, "per_thread": 16, "stages": 3, "resident": 16},
    {
        4096: {"elements": 4096},
        8192: {"per_thread": 32, "resident": 8},
        16384: {"resident": 16},
        32768: {"elements": 8192},
    },
)


def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """y, then what the backward needs of each row, its scale and r of each power."""
    x, weight = x.contiguous(), weight.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y, stats = _outputs(x)
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, FORWARD)
        with device_of(x):
            _poly_norm_fwd_wide[(n_rows,)](
                y,
                stats,
                x,
                weight,
                bias,
                eps,
                n_cols,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
        return y, stats
    tile = piece_tile(n_cols, FORWARD)
    with device_of(x):
        _poly_norm_fwd[(cdiv(n_rows, tile.block_rows),)](
            y,
            stats,
            x,
            weight,
            bias,
            eps,
            n_rows,
            n_cols,
            PIECES=tile.pieces,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return y, stats


def backward(
    dy: Tensor, x: Tensor, weight: Tensor, stats: Tensor, needs: list[bool]
) -> list[Tensor]:
    """The gradients that `needs` asks for, of x, weight and bias in this order."""
    dy, x, weight = dy.contiguous(), x.contiguous(), weight.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    wide = n_cols > WIDEST_ROW
    tile = wide_tile(n_cols, BACKWARD) if wide else piece_tile(n_cols, BACKWARD)
    grid = (programs(x, n_rows, tile),)
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    parts = [
        x.new_empty((grid[0], size), dtype=torch.float32) if need else None
        for size, need in zip((3, 1), needs[1:], strict=True)
    ]
    with device_of(x):
        if wide:
            _poly_norm_bwd_wide[grid](
                dx,
                *parts,
                dy,
                x,
                weight,
                stats,
                n_rows,
                n_cols,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
        else:
            _poly_norm_bwd[grid](
                dx,
                *parts,
                dy,
                x,
                weight,
                stats,
                n_rows,
                n_cols,
                PIECES=tile.pieces,
                BLOCK_ROWS=tile.block_rows,
                BLOCK_COLS=tile.block_cols,
                STAGES=stages(tile, 2, x.dtype),
                num_warps=tile.num_warps,
            )
    given = [part for part in parts if part is not None]
    sums = add_all_parts(given, [part.shape[1:] for part in given], x.dtype)
    return sums if dx is None else [dx, *sums]


def _outputs(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, x.new_empty((*x.shape[:-1], 4), dtype=torch.float32)


def _forward_fake(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return _outputs(x)


def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, stats: Tensor, needs: list[bool]
) -> list[Tensor]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    grads = dx, x.new_empty((3,)), x.new_empty((1,))
    return [grad for grad, needed in zip(grads, needs, strict=True) if needed]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, _bias, _eps = inputs
    _y, stats = output
    ctx.save_for_backward(x, weight, stats)
    ctx.mark_non_differentiable(stats)
    ctx.set_materialize_grads(False)  # else a launch makes zeros for them


def _differentiate(ctx: Any, dy: Tensor, _dstats: None) -> Any:
    needs = list(ctx.needs_input_grad[:3])
    return *op.spread(poly_norm_backward(dy, *ctx.saved_tensors, needs), needs), None


poly_norm = op.define("poly_norm", forward, fake=_forward_fake)
poly_norm_backward = op.define("poly_norm_backward", backward, fake=_backward_fake)
op.autograd("poly_norm", save=_save, backward=_differentiate)
