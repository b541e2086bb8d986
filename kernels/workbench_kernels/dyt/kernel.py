"""dyt (dynamic tanh): y = weight·tanh(alpha·x) + bias, a norm's place without its statistics

Forward:
    t       = tanh(alpha · x)
    y       = weight · t + bias

Backward:
    slope   = 1 − t²
    g       = dy · slope
    dx      = g · weight · alpha
    dalpha  = Σ g · weight · x over all elements
    dweight = Σᵢ dy · t
    dbias   = Σᵢ dy

With u = exp(−2|z|), tanh|z| = (1 − u) / (1 + u) and its slope 4·u / (1 + u)², in which nothing
cancels but 1 − u near 0; there tanh is z times a polynomial in z².

x, alpha, weight, bias, y: float32, bfloat16 or float16; arithmetic in float32.
Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes 1.
Source: Zhu, Chen, He, LeCun, Liu: Transformers without Normalization (2025).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.jit import jit
from workbench_kernels.launch import cdiv, column_tile, device_of, programs, stages
from workbench_kernels.partials import add_all_parts
from workbench_kernels.tuning import Fixed


@triton.jit
def _tanh(z, EXACT: tl.constexpr):
    """tanh(z), and a quarter of its slope: to about an ulp and to a few of float32 if `EXACT`, else
    to 2⁻¹⁸, which is far below what 16 bits round and a sixth fewer instructions.
    """
    u = tl.exp2(-2.8853900817779268 * tl.abs(z))
    v = z * z
    if EXACT:
        part = 1.0 / (1.0 + u)
        # Minimax to 2⁻²⁴ for |z| <= 1/2.
        near = -0.05298924117 + v * 0.017141319047
        near = 0.9999999870693153 + v * (-0.333330718942 + v * (0.133248289977 + v * near))
        is_near = v <= 0.25
    else:
        root = tl.rsqrt(1.0 + u)
        part = root * root
        near = 1.0 - v * (1 / 3)
        is_near = v <= 0.00390625
    rest = u * part
    sign = z.to(tl.int32, bitcast=True) & -0x80000000
    far = ((part - rest).to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)
    return tl.where(is_near, z * near, far), rest * part


@jit(do_not_specialize=["n_rows"])
def _dyt_fwd(
    Y,
    X,
    ALPHA,
    WEIGHT,
    BIAS,
    n_rows,
    n_cols,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    across = tl.cdiv(n_cols, BLOCK_COLS)
    program = tl.program_id(0).to(tl.int64)
    rows = (program // across) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    cols = (program % across) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    col_mask = cols < n_cols
    mask = (rows < n_rows) & col_mask
    x = tl.load(X + rows * n_cols + cols, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(WEIGHT + cols, mask=col_mask, other=0.0).to(tl.float32)
    t, _ = _tanh(tl.load(ALPHA).to(tl.float32) * x, X.dtype.element_ty == tl.float32)
    y = weight * t
    if BIAS is not None:
        y += tl.load(BIAS + cols, mask=col_mask, other=0.0).to(tl.float32)
    tl.store(Y + rows * n_cols + cols, y.to(Y.dtype.element_ty), mask=mask)


@jit(do_not_specialize=["n_rows"])
def _dyt_bwd(
    DX,
    DALPHA_PARTS,
    DWEIGHT_PARTS,
    DBIAS_PARTS,
    DY,
    X,
    ALPHA,
    WEIGHT,
    n_rows,
    n_cols,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A block of the columns of every so many rows."""
    cols = tl.program_id(1) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    col_mask = cols < n_cols
    # Read once for each row, as dy and x are: else threads would exchange what they have read.
    every = cols + tl.zeros([BLOCK_ROWS, 1], tl.int32)
    alpha = tl.load(ALPHA).to(tl.float32)
    weight = 4.0 * tl.load(WEIGHT + every, mask=every < n_cols, other=0.0).to(tl.float32)
    slopes = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    dweight = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    dbias = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    first, step = tl.program_id(0) * BLOCK_ROWS, tl.num_programs(0) * BLOCK_ROWS
    for start in tl.range(first, n_rows, step, num_stages=STAGES):
        rows = start + tl.arange(0, BLOCK_ROWS)[:, None]
        mask = (rows < n_rows) & col_mask
        # Where no row is left, x is the last one's: of a 0, an infinite alpha makes NaN.
        at = tl.minimum(rows, n_rows - 1).to(tl.int64) * n_cols + cols
        dy = tl.load(DY + at, mask=mask, other=0.0)
        x = tl.load(X + at, mask=col_mask, other=0.0)
        # It always is; pieces.py says what the condition is for.
        if start < n_rows:
            above, wide = dy.to(tl.float32), x.to(tl.float32)
            t, quarter = _tanh(alpha * wide, X.dtype.element_ty == tl.float32)
            g = above * quarter
            # The compiler drops a sum that is not stored.
            slopes += g * wide
            dweight += above * t
            dbias += above
            if DX is not None:
                tl.store(DX + at, (g * (weight * alpha)).to(DX.dtype.element_ty), mask=mask)
    place = tl.program_id(0) * n_cols + cols
    if DALPHA_PARTS is not None:
        dalpha = tl.sum(tl.sum(tl.where(col_mask, slopes * weight, 0.0), axis=1), axis=0)
        tl.store(DALPHA_PARTS + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), dalpha)
    if DWEIGHT_PARTS is not None:
        part = tl.sum(dweight, axis=0, keep_dims=True)
        tl.store(DWEIGHT_PARTS + place, part, mask=col_mask)
    if DBIAS_PARTS is not None:
        part = tl.sum(dbias, axis=0, keep_dims=True)
        tl.store(DBIAS_PARTS + place, part, mask=col_mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. Hidden
# sizes are multiples of 512 columns.
FORWARD = Fixed({"elements": 1024, "per_thread": 32, "columns": 256})
BACKWARD = Fixed({"elements": 2048, "per_thread": 16, "columns": 1024, "stages": 2, "resident": 12})


def forward(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Launch the forward kernel over all elements."""
    x, weight = x.contiguous(), weight.contiguous()
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    tile = column_tile(n_cols, FORWARD)
    grid = (cdiv(n_rows, tile.block_rows) * cdiv(n_cols, tile.block_cols),)
    with device_of(x):
        _dyt_fwd[grid](
            y,
            x,
            alpha,
            weight,
            None if bias is None else bias.contiguous(),
            n_rows,
            n_cols,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return y


def backward(
    dy: Tensor, x: Tensor, alpha: Tensor, weight: Tensor, needs: list[bool]
) -> list[Tensor]:
    """The gradients that `needs` asks for, of x, alpha, weight and bias in this order."""
    dy, x, weight = dy.contiguous(), x.contiguous(), weight.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    tile = column_tile(n_cols, BACKWARD)
    blocks = cdiv(n_cols, tile.block_cols)
    grid = (programs(x, n_rows, tile, blocks), blocks)
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    sizes = (grid[0] * blocks, 1), (grid[0], n_cols), (grid[0], n_cols)
    parts = [
        x.new_empty(size, dtype=torch.float32) if need else None
        for size, need in zip(sizes, needs[1:], strict=True)
    ]
    with device_of(x):
        _dyt_bwd[grid](
            dx,
            *parts,
            dy,
            x,
            alpha,
            weight,
            n_rows,
            n_cols,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            STAGES=stages(tile, 2, x.dtype, conditional=True),
            num_warps=tile.num_warps,
        )
    shapes = (alpha.shape, weight.shape, weight.shape)
    given = [(part, shape) for part, shape in zip(parts, shapes, strict=True) if part is not None]
    sums = add_all_parts([part for part, _ in given], [shape for _, shape in given], x.dtype)
    return sums if dx is None else [dx, *sums]


def _forward_fake(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward_fake(
    dy: Tensor, x: Tensor, alpha: Tensor, weight: Tensor, needs: list[bool]
) -> list[Tensor]:
    grads = x, alpha, weight, weight
    return [
        torch.empty_like(like, memory_format=torch.contiguous_format)
        for like, needed in zip(grads, needs, strict=True)
        if needed
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, alpha, weight, _bias = inputs
    ctx.save_for_backward(x, alpha, weight)


def _differentiate(ctx: Any, dy: Tensor) -> Any:
    needs = list(ctx.needs_input_grad)
    return op.spread(dyt_backward(dy, *ctx.saved_tensors, needs), needs)


dyt = op.define("dyt", forward, fake=_forward_fake)
dyt_backward = op.define("dyt_backward", backward, fake=_backward_fake)
op.autograd("dyt", save=_save, backward=_differentiate)
