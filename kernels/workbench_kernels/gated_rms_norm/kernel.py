"""gated_rms_norm: y = n(x)·weight·act(gate), or n(x·act(gate))·weight; n(u) = u / √(mean(u²) + eps)

Forward, of a group of C columns of a row:
    a       = act(gate)
    u       = x, or x · a where the gate comes first
    rstd    = 1/√(Σⱼ u² / C + eps)
    y       = u · rstd · weight, and · a where the gate comes last

Backward:
    n       = u · rstd
    v       = dy · a, or dy where the gate comes first
    g       = v · weight
    du      = (g − n · Σⱼ g · n / C) · rstd
    dx      = du, or du · a
    dgate   = dy · n · weight · act'(gate), or du · x · act'(gate)
    dweight = Σᵢ v · n

Activations and their slopes, with s = σ(gate):
    silu      gate · s       s · (1 + gate · (1 − s))
    sigmoid   s              s · (1 − s)

x, gate, weight, y: float32, bfloat16 or float16; arithmetic in float32. Every group's rstd is kept.
Full-size transfers: forward reads 2 and writes 1, backward reads 3 and writes 2. Groups wider than
a program can hold are read again, out of the L2 cache, and once more from memory for dweight.
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
    device_of,
    piece_tile,
    programs,
    stages,
    wide_tile,
)
from workbench_kernels.partials import add_parts
from workbench_kernels.tuning import ByWidth


@triton.jit
def _activate(gate, ACTIVATION: tl.constexpr):
    """The activation of gate and its slope there, in which nothing cancels."""
    e = tl.exp(-tl.abs(gate))
    near = 1.0 / (1.0 + e)
    s = tl.where(gate < 0.0, e * near, near)
    rest = tl.where(gate < 0.0, near, e * near)
    if ACTIVATION == "silu":
        value = gate * s
        slope = s + gate * s * rest
    else:
        value = s
        slope = s * rest
    return value, slope


@triton.jit
def _result(u, rstd, act, WEIGHT, cols, n_cols, GATE_FIRST: tl.constexpr, ROUNDED: tl.constexpr):
    """y; `ROUNDED`: what is normalised is, and its product with the weight."""
    weight = tl.load(WEIGHT + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
    n = u * rstd
    if ROUNDED:
        n = n.to(WEIGHT.dtype.element_ty).to(tl.float32)
        y = (n * weight).to(WEIGHT.dtype.element_ty).to(tl.float32)
    else:
        y = n * weight
    if not GATE_FIRST:
        y *= act
    return y


@triton.jit
def _before(dy, x, act, GATE_FIRST: tl.constexpr):
    """What is normalised, and the gradient of its product with the weight."""
    if GATE_FIRST:
        u, v = x * act, dy
    else:
        u, v = x, dy * act
    return u, v


@triton.jit
def _gradients(v, u, rstd, mean, weight, dy, x, act, slope, GATE_FIRST: tl.constexpr):
    """dx and dgate."""
    n = u * rstd
    du = (v * weight - n * mean) * rstd
    if GATE_FIRST:
        dx = du * act
        dgate = du * x * slope
    else:
        dx = du
        dgate = dy * n * weight * slope
    return dx, dgate


@jit(do_not_specialize=["n_rows"])
def _gated_rms_norm_fwd(
    Y,
    RSTD,
    X,
    GATE,
    WEIGHT,
    eps,
    n_rows,
    n_cols,
    ACTIVATION: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    ROUNDED: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    group, n_groups = tl.program_id(1), tl.num_programs(1)
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    groups = rows.to(tl.int64) * n_groups + group
    at = groups * n_cols
    x = pieces.load(X + at, row_mask, n_cols, PIECES, BLOCK_COLS)
    gate = pieces.load(GATE + at, row_mask, n_cols, PIECES, BLOCK_COLS)
    squares = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for piece in tl.static_range(PIECES):
        u = x[piece].to(tl.float32)
        if GATE_FIRST:
            u *= _activate(gate[piece].to(tl.float32), ACTIVATION)[0]
        squares += u * u
    row_sum = tl.sum(squares, axis=1, keep_dims=True)
    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)
    tl.store(RSTD + groups, rstd, mask=row_mask)
    for piece in tl.static_range(PIECES):
        cols = pieces.columns(piece, BLOCK_COLS)
        u = x[piece].to(tl.float32)
        act, _ = _activate(gate[piece].to(tl.float32), ACTIVATION)
        if GATE_FIRST:
            u *= act
        y = _result(u, rstd, act, WEIGHT + group * n_cols, cols, n_cols, GATE_FIRST, ROUNDED)
        tl.store(Y + at + cols, y.to(Y.dtype.element_ty), mask=row_mask & (cols < n_cols))


@jit
def _gated_rms_norm_fwd_wide(
    Y,
    RSTD,
    X,
    GATE,
    WEIGHT,
    eps,
    n_cols,
    ACTIVATION: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    ROUNDED: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """A group of any width, in two passes."""
    group, n_groups = tl.program_id(1), tl.num_programs(1)
    at = (tl.program_id(0).to(tl.int64) * n_groups + group) * n_cols
    squares = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        mask = cols < n_cols
        u = tl.load(X + at + cols, mask=mask, other=0.0, eviction_policy="evict_last")
        u = u.to(tl.float32)
        if GATE_FIRST:
            gate = tl.load(GATE + at + cols, mask=mask, other=0.0, eviction_policy="evict_last")
            u *= _activate(gate.to(tl.float32), ACTIVATION)[0]
        squares += u * u
    rstd = tl.rsqrt(numerics.divide(tl.sum(squares, axis=0), n_cols) + eps)
    tl.store(RSTD + tl.program_id(0) * n_groups + group, rstd)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        mask = cols < n_cols
        u = tl.load(X + at + cols, mask=mask, other=0.0, eviction_policy="evict_first")
        gate = tl.load(GATE + at + cols, mask=mask, other=0.0, eviction_policy="evict_first")
        u = u.to(tl.float32)
        act, _ = _activate(gate.to(tl.float32), ACTIVATION)
        if GATE_FIRST:
            u *= act
        y = _result(u, rstd, act, WEIGHT + group * n_cols, cols, n_cols, GATE_FIRST, ROUNDED)
        tl.store(Y + at + cols, y.to(Y.dtype.element_ty), mask=mask)


@jit(do_not_specialize=["n_rows"])
def _gated_rms_norm_bwd(
    DX,
    DGATE,
    DWEIGHT_PARTS,
    DY,
    X,
    GATE,
    WEIGHT,
    RSTD,
    n_rows,
    n_cols,
    n_groups,
    ACTIVATION: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    WHOLE: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A group of every so many rows; not `WHOLE`: dweight alone, of a block of its columns."""
    blocks = tl.cdiv(n_cols, PIECES * BLOCK_COLS)
    group = tl.program_id(1) // blocks
    side = tl.program_id(1) % blocks * (PIECES * BLOCK_COLS)
    left = n_cols - side
    WEIGHT += group * n_cols
    dweight = pieces.zeros(PIECES, BLOCK_ROWS, BLOCK_COLS)
    first, step = tl.program_id(0) * BLOCK_ROWS, tl.num_programs(0) * BLOCK_ROWS
    for start in tl.range(first, n_rows, step, num_stages=STAGES):
        rows = start + tl.arange(0, BLOCK_ROWS)[:, None]
        row_mask = rows < n_rows
        groups = rows.to(tl.int64) * n_groups + group
        at = groups * n_cols + side
        dy = pieces.load(DY + at, row_mask, left, PIECES, BLOCK_COLS)
        x = pieces.load(X + at, row_mask, left, PIECES, BLOCK_COLS)
        gate = pieces.load(GATE + at, row_mask, left, PIECES, BLOCK_COLS)
        rstd = tl.load(RSTD + groups, mask=row_mask, other=0.0)
        products = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
        added = ()
        gs = ()
        for piece in tl.static_range(PIECES):
            cols = pieces.columns(piece, BLOCK_COLS)
            wide_dy, wide_x = dy[piece].to(tl.float32), x[piece].to(tl.float32)
            act, slope = _activate(gate[piece].to(tl.float32), ACTIVATION)
            u, v = _before(wide_dy, wide_x, act, GATE_FIRST)
            n = u * rstd
            if DWEIGHT_PARTS is not None:
                added = pieces.append(added, dweight[piece] + v * n)
            if WHOLE:
                weight = tl.load(WEIGHT + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
                g = v * weight
                products += g * n
                gs = pieces.append(gs, g)
                # At once, so that less has to be held while the row is summed up.
                if DGATE is not None and not GATE_FIRST:
                    dgate = wide_dy * n * weight * slope
                    mask = row_mask & (cols < n_cols)
                    tl.store(DGATE + at + cols, dgate.to(DGATE.dtype.element_ty), mask=mask)
        if DWEIGHT_PARTS is not None:
            dweight = added
        if WHOLE and (DX is not None or GATE_FIRST):
            mean = numerics.divide(tl.sum(products, axis=1, keep_dims=True), n_cols)
            for piece in tl.static_range(PIECES):
                cols = pieces.columns(piece, BLOCK_COLS)
                mask = row_mask & (cols < n_cols)
                wide_x = x[piece].to(tl.float32)
                if GATE_FIRST:
                    act, slope = _activate(gate[piece].to(tl.float32), ACTIVATION)
                    du = (gs[piece] - wide_x * act * rstd * mean) * rstd
                    dx = du * act
                    if DGATE is not None:
                        dgate = du * wide_x * slope
                        tl.store(DGATE + at + cols, dgate.to(DGATE.dtype.element_ty), mask=mask)
                else:
                    dx = (gs[piece] - wide_x * rstd * mean) * rstd
                if DX is not None:
                    tl.store(DX + at + cols, dx.to(DX.dtype.element_ty), mask=mask)
    if DWEIGHT_PARTS is not None:
        PARTS = DWEIGHT_PARTS + (tl.program_id(0) * n_groups + group) * n_cols + side
        pieces.store_sums(PARTS, dweight, left, PIECES, BLOCK_COLS)


@jit
def _gated_rms_norm_bwd_wide(
    DX,
    DGATE,
    DY,
    X,
    GATE,
    WEIGHT,
    RSTD,
    n_cols,
    ACTIVATION: tl.constexpr,
    GATE_FIRST: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    """dx and dgate of a group of any width, in two passes."""
    group = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    at = group * n_cols
    WEIGHT += tl.program_id(1) * n_cols
    rstd = tl.load(RSTD + group)
    products = tl.zeros([BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        mask = cols < n_cols
        dy = tl.load(DY + at + cols, mask=mask, other=0.0, eviction_policy="evict_last")
        x = tl.load(X + at + cols, mask=mask, other=0.0, eviction_policy="evict_last")
        gate = tl.load(GATE + at + cols, mask=mask, other=0.0, eviction_policy="evict_last")
        weight = tl.load(WEIGHT + cols, mask=mask, other=0.0).to(tl.float32)
        act, _ = _activate(gate.to(tl.float32), ACTIVATION)
        u, v = _before(dy.to(tl.float32), x.to(tl.float32), act, GATE_FIRST)
        products += v * (u * rstd) * weight
    mean = numerics.divide(tl.sum(products, axis=0), n_cols)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)
        mask = cols < n_cols
        dy = tl.load(DY + at + cols, mask=mask, other=0.0, eviction_policy="evict_first")
        x = tl.load(X + at + cols, mask=mask, other=0.0, eviction_policy="evict_first")
        gate = tl.load(GATE + at + cols, mask=mask, other=0.0, eviction_policy="evict_first")
        weight = tl.load(WEIGHT + cols, mask=mask, other=0.0).to(tl.float32)
        g, wide = dy.to(tl.float32), x.to(tl.float32)
        act, slope = _activate(gate.to(tl.float32), ACTIVATION)
        u, v = _before(g, wide, act, GATE_FIRST)
        dx, dgate = _gradients(v, u, rstd, mean, weight, g, wide, act, slope, GATE_FIRST)
        if DX is not None:
            tl.store(DX + at + cols, dx.to(DX.dtype.element_ty), mask=mask)
        if DGATE is not None:
            tl.store(DGATE + at + cols, dgate.to(DGATE.dtype.element_ty), mask=mask)


# With what the kernels are launched, by the width of a group; tuning.py says what it means and what
# may be tried. A group wider than WIDEST_ROW is read in blocks of so many elements.
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
    {"elements": 8192, "per_thread": 16, "stages": 3, "resident": 16},
    {
        1024: {"elements": 4096, "per_thread": 8},
        8192: {"per_thread": 32},
        16384: {"per_thread": 16, "stages": 2},
        32768: {"elements": 8192},
    },
)


def forward(
    x: Tensor,
    gate: Tensor,
    weight: Tensor,
    eps: float,
    gate_first: bool,
    activation: str,
    num_groups: int,
    rounding: str,
) -> tuple[Tensor, Tensor]:
    """y, then what the backward needs of each group, rstd."""
    x, gate, weight = x.contiguous(), gate.contiguous(), weight.contiguous()
    n_cols = x.shape[-1] // num_groups
    n_rows = x.numel() // x.shape[-1]
    y, rstd = _outputs(x, num_groups)
    rounded = rounding == "before_weight"
    if n_cols > WIDEST_ROW:
        tile = wide_tile(n_cols, FORWARD)
        with device_of(x):
            _gated_rms_norm_fwd_wide[(n_rows, num_groups)](
                y,
                rstd,
                x,
                gate,
                weight,
                eps,
                n_cols,
                ACTIVATION=activation,
                GATE_FIRST=gate_first,
                ROUNDED=rounded,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
        return y, rstd
    tile = piece_tile(n_cols, FORWARD)
    with device_of(x):
        _gated_rms_norm_fwd[(cdiv(n_rows, tile.block_rows), num_groups)](
            y,
            rstd,
            x,
            gate,
            weight,
            eps,
            n_rows,
            n_cols,
            ACTIVATION=activation,
            GATE_FIRST=gate_first,
            ROUNDED=rounded,
            PIECES=tile.pieces,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return y, rstd


def backward(
    dy: Tensor,
    x: Tensor,
    gate: Tensor,
    weight: Tensor,
    rstd: Tensor,
    gate_first: bool,
    activation: str,
    num_groups: int,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, in the order of the inputs."""
    given = [t.contiguous() for t in (dy, x, gate, weight)]
    n_cols = x.shape[-1] // num_groups
    grads = [
        torch.empty_like(x, memory_format=torch.contiguous_format) if need else None
        for need in needs[:2]
    ]
    how = activation, gate_first, num_groups
    held = n_cols <= WIDEST_ROW
    tile = piece_tile(n_cols, BACKWARD) if held else wide_tile(n_cols, BACKWARD)
    whole = needs[0] or needs[1]
    if not held and whole:
        _launch_bwd_wide(grads, given, rstd, how, tile)
    dweight = None
    if held or needs[2]:
        dweight = _launch_bwd(grads, given, rstd, how, tile, held and whole, needs[2])
    return [grad for grad in (*grads, dweight) if grad is not None]


def _launch_bwd(
    grads: list[Tensor | None],
    given: list[Tensor],
    rstd: Tensor,
    how: tuple[str, bool, int],
    tile: Tile,
    whole: bool,
    with_dweight: bool,
) -> Tensor | None:
    """Fill the gradients of x and gate if `whole`, and make dweight."""
    x, weight = given[1], given[3]
    activation, gate_first, num_groups = how
    n_cols = x.shape[-1] // num_groups
    n_rows = x.numel() // x.shape[-1]
    blocks = num_groups * cdiv(n_cols, tile.pieces * tile.block_cols)
    grid = (programs(x, n_rows, tile, blocks), blocks)
    parts = None
    if with_dweight:
        parts = x.new_empty((grid[0], x.shape[-1]), dtype=torch.float32)
    with device_of(x):
        _gated_rms_norm_bwd[grid](
            *(grads if whole else (None, None)),
            parts,
            *given,
            rstd,
            n_rows,
            n_cols,
            num_groups,
            ACTIVATION=activation,
            GATE_FIRST=gate_first,
            WHOLE=whole,
            PIECES=tile.pieces,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            STAGES=stages(tile, 3, x.dtype),
            num_warps=tile.num_warps,
        )
    return None if parts is None else add_parts(parts, weight.shape, x.dtype)


def _launch_bwd_wide(
    grads: list[Tensor | None],
    given: list[Tensor],
    rstd: Tensor,
    how: tuple[str, bool, int],
    tile: Tile,
) -> None:
    """Fill the gradients of x and gate."""
    x = given[1]
    activation, gate_first, num_groups = how
    with device_of(x):
        _gated_rms_norm_bwd_wide[(x.numel() // x.shape[-1], num_groups)](
            *grads,
            *given,
            rstd,
            x.shape[-1] // num_groups,
            ACTIVATION=activation,
            GATE_FIRST=gate_first,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )


def _outputs(x: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, x.new_empty((*x.shape[:-1], num_groups), dtype=torch.float32)


def _forward_fake(
    x: Tensor,
    gate: Tensor,
    weight: Tensor,
    eps: float,
    gate_first: bool,
    activation: str,
    num_groups: int,
    rounding: str,
) -> tuple[Tensor, Tensor]:
    return _outputs(x, num_groups)


def _backward_fake(
    dy: Tensor,
    x: Tensor,
    gate: Tensor,
    weight: Tensor,
    rstd: Tensor,
    gate_first: bool,
    activation: str,
    num_groups: int,
    needs: list[bool],
) -> list[Tensor]:
    return [
        torch.empty_like(like, memory_format=torch.contiguous_format)
        for like, need in zip((x, x, weight), needs, strict=True)
        if need
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, gate, weight, _eps, *ctx.how, _rounding = inputs
    _y, rstd = output
    ctx.save_for_backward(x, gate, weight, rstd)
    ctx.mark_non_differentiable(rstd)
    ctx.set_materialize_grads(False)  # else a launch makes zeros for them


def _differentiate(ctx: Any, dy: Tensor, _drstd: None) -> Any:
    needs = list(ctx.needs_input_grad[:3])
    grads = gated_rms_norm_backward(dy, *ctx.saved_tensors, *ctx.how, needs)
    return *op.spread(grads, needs), *(None,) * 5


gated_rms_norm = op.define("gated_rms_norm", forward, fake=_forward_fake)
gated_rms_norm_backward = op.define("gated_rms_norm_backward", backward, fake=_backward_fake)
op.autograd("gated_rms_norm", save=_save, backward=_differentiate)
