"""qk_norm_rope: the heads of q and k are normalised, scaled and turned, each in one go.

Forward, of a head x with D features at a token, w its weight:
    rstd = 1/√(Σⱼ x² / D + eps)
    n    = x · rstd · (w + offset)
    y₁   = n₁ · cos₁ − n₂ · sin₁
    y₂   = n₂ · cos₂ + n₁ · sin₂

Backward:
    dn₁ = dy₁ · cos₁ + dy₂ · sin₂
    dn₂ = dy₂ · cos₂ − dy₁ · sin₁
    x̂   = x · rstd
    g   = dn · (w + offset)
    dx  = (g − x̂ · Σⱼ g · x̂ / D) · rstd
    dw  = Σ dn · x̂ over all heads of all tokens

Features beyond those that are rotated are normalised and scaled only; `rope` says what a pair is.

q, k, weights, y: float32, bfloat16 or float16; arithmetic in float32. The backward has every head x
at hand, so it takes rstd of it anew: to keep it would make the threads of a program wait for each
other before they store y.
Transfers: forward reads every head once and writes it once, backward reads two and writes one; the
tables are read once for all heads.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.jit import jit
from workbench_kernels.launch import Tile, cdiv, device_of, programs, stages
from workbench_kernels.partials import add_all_parts
from workbench_kernels.rotary import (
    aligned,
    bounds,
    constants,
    empty_like,
    heads_of,
    interleaved,
    load_pairs,
    load_table,
    split,
    store_pairs,
    tables_of,
    tokens_outermost,
)
from workbench_kernels.tuning import ByWidth


@triton.jit
def _forward_heads(
    Y,
    X,
    WEIGHT,
    COS,
    SIN,
    eps,
    offset,
    batch,
    place,
    group,
    n_heads,
    mask,
    y_strides,
    x_strides,
    table_strides,
    bounds,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    HEADS: tl.constexpr,
    ALIGNED: tl.constexpr,
    FROM: tl.constexpr,
    TO: tl.constexpr,
    PER_PAIR: tl.constexpr,
    SECTIONS: tl.constexpr,
):
    """A group of heads of some tokens."""
    # Everything is read before anything is stored: no compiler moves a load before a store.
    heads = group * HEADS + tl.arange(0, HEADS)[:, None, None]
    some = mask & (heads < n_heads)
    heads = heads.to(tl.int64)
    x_at = batch * x_strides[0] + place * x_strides[1] + heads * x_strides[2]
    y_at = batch * y_strides[0] + place * y_strides[1] + heads * y_strides[2]
    X += aligned(x_at, ALIGNED)
    Y += aligned(y_at, ALIGNED)
    x_1, x_2 = load_pairs(X, some, 1, HALF, BLOCK_HALF, FROM)
    every = tl.full([1, 1, 1], True, tl.int1)
    # Read for each token, so as x and tables are: else threads would exchange what they have read.
    weight = WEIGHT + tl.zeros_like(place)
    w_1, w_2 = load_pairs(weight, every, 1, HALF, BLOCK_HALF, FROM)
    table_at = batch * table_strides[1] + place * table_strides[2]
    table_at = aligned(table_at, ALIGNED)
    cos_1, cos_2 = load_table(
        COS + table_at, mask, table_strides, bounds, HALF, BLOCK_HALF, TO, PER_PAIR, SECTIONS
    )
    sin_1, sin_2 = load_table(
        SIN + table_at, mask, table_strides, bounds, HALF, BLOCK_HALF, TO, PER_PAIR, SECTIONS
    )
    row_sum = tl.sum(x_1 * x_1 + x_2 * x_2, axis=2, keep_dims=True)
    if REST > 0:
        cols = 2 * HALF + tl.arange(0, BLOCK_REST)[None, None, :]
        has_rest = cols < 2 * HALF + REST
        x_rest = tl.load(X + cols, mask=some & has_rest, other=0.0).to(tl.float32)
        w_rest = tl.load(WEIGHT + cols, mask=has_rest, other=0.0).to(tl.float32)
        row_sum += tl.sum(x_rest * x_rest, axis=2, keep_dims=True)
    rstd = tl.rsqrt(row_sum * (1.0 / (2 * HALF + REST)) + eps)
    if REST > 0:
        y_rest = x_rest * rstd * (w_rest + offset)
        tl.store(Y + cols, y_rest.to(Y.dtype.element_ty), mask=some & has_rest)
    w_1, w_2 = w_1 + offset, w_2 + offset
    n_1, n_2 = x_1 * rstd, x_2 * rstd
    # All heads of a token share the products of weights and tables.
    y_1 = n_1 * (w_1 * cos_1) - n_2 * (w_2 * sin_1)
    y_2 = n_2 * (w_2 * cos_2) + n_1 * (w_1 * sin_2)
    store_pairs(Y, y_1, y_2, some, HALF, BLOCK_HALF, TO)


@jit(do_not_specialize=["n_tokens", "length"])
def _qk_norm_rope_fwd(
    YQ,
    YK,
    Q,
    K,
    Q_WEIGHT,
    K_WEIGHT,
    COS,
    SIN,
    eps,
    offset,
    n_tokens,
    length,
    heads,
    groups,
    yq_strides,
    yk_strides,
    q_strides,
    k_strides,
    table_strides,
    bounds,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
    ALIGNED: tl.constexpr,
    FROM: tl.constexpr,
    TO: tl.constexpr,
    PER_PAIR: tl.constexpr,
    SECTIONS: tl.constexpr,
):
    q_groups, k_groups = groups
    group = tl.program_id(0) % (q_groups + k_groups)
    block = tl.program_id(0) // (q_groups + k_groups)
    tokens = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)[None, :, None]
    mask = tokens < n_tokens
    batch, place = (tokens // length).to(tl.int64), (tokens % length).to(tl.int64)
    if group < q_groups:
        _forward_heads(
            YQ, Q, Q_WEIGHT, COS, SIN, eps, offset, batch, place, group, heads[0], mask,
            yq_strides, q_strides, table_strides, bounds,
            HALF, BLOCK_HALF, REST, BLOCK_REST, HEADS, ALIGNED, FROM, TO, PER_PAIR, SECTIONS,
        )  # fmt: skip
    else:
        _forward_heads(
            YK, K, K_WEIGHT, COS, SIN, eps, offset, batch, place, group - q_groups, heads[1], mask,
            yk_strides, k_strides, table_strides, bounds,
            HALF, BLOCK_HALF, REST, BLOCK_REST, HEADS, ALIGNED, FROM, TO, PER_PAIR, SECTIONS,
        )  # fmt: skip


@triton.jit
def _backward_heads(
    DX,
    DWEIGHT_PARTS,
    DY,
    X,
    WEIGHT,
    COS,
    SIN,
    eps,
    offset,
    n_tokens,
    length,
    program,
    n_programs,
    n_heads,
    n_groups,
    dx_strides,
    dy_strides,
    x_strides,
    table_strides,
    bounds,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
    ALIGNED: tl.constexpr,
    FROM: tl.constexpr,
    TO: tl.constexpr,
    PER_PAIR: tl.constexpr,
    SECTIONS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Every `n_programs`th group of heads of one tensor, from the group `program` on."""
    every = tl.full([1, 1, 1], True, tl.int1)
    # Read for each token, so as x is: as one row each thread would hold other columns than of x.
    weight = WEIGHT + tl.zeros([1, BLOCK_TOKENS, 1], tl.int32)
    w_1, w_2 = load_pairs(weight, every, 1, HALF, BLOCK_HALF, FROM)
    w_1, w_2 = w_1 + offset, w_2 + offset
    dweight_1 = tl.zeros([1, BLOCK_TOKENS, BLOCK_HALF], tl.float32)
    dweight_2 = tl.zeros([1, BLOCK_TOKENS, BLOCK_HALF], tl.float32)
    if REST > 0:
        cols = 2 * HALF + tl.arange(0, BLOCK_REST)[None, None, :]
        has_rest = cols < 2 * HALF + REST
        w_rest = tl.load(WEIGHT + cols, mask=has_rest, other=0.0).to(tl.float32) + offset
        dweight_rest = tl.zeros([1, BLOCK_TOKENS, BLOCK_REST], tl.float32)
    n_blocks = tl.cdiv(n_tokens, BLOCK_TOKENS) * n_groups
    for block in tl.range(program, n_blocks, n_programs, num_stages=STAGES):
        tokens = block // n_groups * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)[None, :, None]
        mask = tokens < n_tokens
        heads = block % n_groups * HEADS + tl.arange(0, HEADS)[:, None, None]
        some = mask & (heads < n_heads)
        heads = heads.to(tl.int64)
        batch, place = (tokens // length).to(tl.int64), (tokens % length).to(tl.int64)
        dy_at = batch * dy_strides[0] + place * dy_strides[1] + heads * dy_strides[2]
        x_at = batch * x_strides[0] + place * x_strides[1] + heads * x_strides[2]
        dy_at = aligned(dy_at, ALIGNED)
        x_at = aligned(x_at, ALIGNED)
        table_at = batch * table_strides[1] + place * table_strides[2]
        table_at = aligned(table_at, ALIGNED)
        dy_1, dy_2 = load_pairs(DY + dy_at, some, 1, HALF, BLOCK_HALF, TO)
        x_1, x_2 = load_pairs(X + x_at, some, 1, HALF, BLOCK_HALF, FROM)
        cos_1, cos_2 = load_table(
            COS + table_at, mask, table_strides, bounds, HALF, BLOCK_HALF, TO, PER_PAIR, SECTIONS
        )
        sin_1, sin_2 = load_table(
            SIN + table_at, mask, table_strides, bounds, HALF, BLOCK_HALF, TO, PER_PAIR, SECTIONS
        )
        squares = tl.sum(x_1 * x_1 + x_2 * x_2, axis=2, keep_dims=True)
        if REST > 0:
            dy_rest = tl.load(DY + dy_at + cols, mask=some & has_rest, other=0.0).to(tl.float32)
            x_rest = tl.load(X + x_at + cols, mask=some & has_rest, other=0.0).to(tl.float32)
            squares += tl.sum(x_rest * x_rest, axis=2, keep_dims=True)
        rstd = tl.rsqrt(squares * (1.0 / (2 * HALF + REST)) + eps)
        rstd = tl.where(some, rstd, 0.0)  # ∞ where there is no head and no eps
        dn_1 = dy_1 * cos_1 + dy_2 * sin_2
        dn_2 = dy_2 * cos_2 - dy_1 * sin_1
        xhat_1, xhat_2 = x_1 * rstd, x_2 * rstd
        row_sum = tl.sum(dn_1 * w_1 * xhat_1 + dn_2 * w_2 * xhat_2, axis=2, keep_dims=True)
        if REST > 0:
            xhat_rest = x_rest * rstd
            row_sum += tl.sum(dy_rest * w_rest * xhat_rest, axis=2, keep_dims=True)
        mean = row_sum * (1.0 / (2 * HALF + REST))
        if DX is not None:
            dx_at = batch * dx_strides[0] + place * dx_strides[1] + heads * dx_strides[2]
            dx_at = aligned(dx_at, ALIGNED)
            dx_1 = (dn_1 * w_1 - xhat_1 * mean) * rstd
            dx_2 = (dn_2 * w_2 - xhat_2 * mean) * rstd
            store_pairs(DX + dx_at, dx_1, dx_2, some, HALF, BLOCK_HALF, FROM)
            if REST > 0:
                dx_rest = (dy_rest * w_rest - xhat_rest * mean) * rstd
                at = DX + dx_at + cols
                tl.store(at, dx_rest.to(DX.dtype.element_ty), mask=some & has_rest)
        if DWEIGHT_PARTS is not None:
            dweight_1 += tl.sum(dn_1 * xhat_1, axis=0, keep_dims=True)
            dweight_2 += tl.sum(dn_2 * xhat_2, axis=0, keep_dims=True)
            if REST > 0:
                dweight_rest += tl.sum(dy_rest * xhat_rest, axis=0, keep_dims=True)
    if DWEIGHT_PARTS is not None:
        PARTS = DWEIGHT_PARTS + program * (2 * HALF + REST)
        dweight_1 = tl.sum(dweight_1, axis=1, keep_dims=True)
        dweight_2 = tl.sum(dweight_2, axis=1, keep_dims=True)
        store_pairs(PARTS, dweight_1, dweight_2, every, HALF, BLOCK_HALF, FROM)
        if REST > 0:
            dweight_rest = tl.sum(dweight_rest, axis=1, keep_dims=True)
            tl.store(PARTS + cols, dweight_rest, mask=has_rest)


@jit(do_not_specialize=["n_tokens", "length", "q_programs", "k_programs"])
def _qk_norm_rope_bwd(
    DQ,
    DK,
    Q_WEIGHT_PARTS,
    K_WEIGHT_PARTS,
    DYQ,
    DYK,
    Q,
    K,
    Q_WEIGHT,
    K_WEIGHT,
    COS,
    SIN,
    eps,
    offset,
    n_tokens,
    length,
    heads,
    groups,
    q_programs,
    k_programs,
    dq_strides,
    dk_strides,
    dyq_strides,
    dyk_strides,
    q_strides,
    k_strides,
    table_strides,
    bounds,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
    ALIGNED: tl.constexpr,
    FROM: tl.constexpr,
    TO: tl.constexpr,
    PER_PAIR: tl.constexpr,
    SECTIONS: tl.constexpr,
    STAGES: tl.constexpr,
):
    # Each program has heads of q or of k, so that none waits for its first heads twice.
    program = tl.program_id(0)
    if program < q_programs:
        if DYQ is not None:
            _backward_heads(
                DQ, Q_WEIGHT_PARTS, DYQ, Q, Q_WEIGHT, COS, SIN, eps, offset, n_tokens, length,
                program, q_programs, heads[0], groups[0],
                dq_strides, dyq_strides, q_strides, table_strides, bounds,
                HALF, BLOCK_HALF, REST, BLOCK_REST, BLOCK_TOKENS, HEADS, ALIGNED, FROM, TO,
                PER_PAIR, SECTIONS, STAGES,
            )  # fmt: skip
    elif DYK is not None:
        _backward_heads(
            DK, K_WEIGHT_PARTS, DYK, K, K_WEIGHT, COS, SIN, eps, offset, n_tokens, length,
            program - q_programs, k_programs, heads[1], groups[1],
            dk_strides, dyk_strides, k_strides, table_strides, bounds,
            HALF, BLOCK_HALF, REST, BLOCK_REST, BLOCK_TOKENS, HEADS, ALIGNED, FROM, TO,
            PER_PAIR, SECTIONS, STAGES,
        )  # fmt: skip


# With what the kernels are launched; tuning.py says what it means and what may be tried. A program
# holds `elements` of each of `heads` heads, which share what it read of the tables.
FORWARD = ByWidth(
    {"elements": 256, "per_thread": 4, "heads": 4},
    {256: {"elements": 512, "per_thread": 16, "heads": 2}},
    choices={"heads": (4, 2, 8, 1)},
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 16, "heads": 2, "stages": 2, "resident": 12},
    {256: {"heads": 1}},
    choices={"heads": (2, 4, 1, 8), "resident": (12, 16, 8, 24, 32)},
)

# Of a multiprocessor, what programs share out; older GPUs have less, and start a few too many.
_SHARED_BYTES = 224 * 1024


def forward(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    offset: float,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
) -> tuple[Tensor, Tensor]:
    """q and k normalised and turned, each laid out as it came."""
    yq, yk = _like(q, k, heads_dim)
    cos, sin, table_strides = tables_of(cos, sin, q, heads_dim, sections)
    memory, lie = zip(*(heads_of(t, heads_dim) for t in (yq, yk, q, k)), strict=True)
    batches, length, q_heads, width, _strides = lie[2]
    heads = q_heads, lie[3].heads
    tile, block_heads, groups = split(width, *heads, FORWARD)
    ways = interleaved(pairing)
    n_tokens = batches * length
    strides = [one.strides for one in lie]
    n_programs = cdiv(n_tokens, tile.block_rows) * sum(groups)
    if n_programs:
        with device_of(q):
            _qk_norm_rope_fwd[(n_programs,)](
                *memory,
                q_weight.contiguous(),
                k_weight.contiguous(),
                cos,
                sin,
                eps,
                offset,
                n_tokens,
                length,
                heads,
                groups,
                *strides,
                table_strides,
                bounds(sections),
                BLOCK_TOKENS=tile.block_rows,
                HEADS=block_heads,
                FROM=ways[0],
                TO=ways[1],
                num_warps=tile.num_warps,
                maxnreg=tile.registers,
                **constants(
                    width, cos.shape[-1], per_pair, bool(sections), table_strides, *strides
                ),
            )
    return yq, yk


def backward(
    dyq: Tensor | None,
    dyk: Tensor | None,
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    offset: float,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, in the order of the inputs."""
    dq, dk = (
        empty_like(x, heads_dim, tokens_outermost(x, heads_dim)) if need else None
        for x, need in zip((q, k), needs[:2], strict=True)
    )
    cos, sin, table_strides = tables_of(cos, sin, q, heads_dim, sections)
    memory, strides = zip(*(_given(t, heads_dim) for t in (dq, dk, dyq, dyk, q, k)), strict=True)
    batches, length, q_heads, width, _strides = heads_of(q, heads_dim)[1]
    heads = q_heads, k.shape[heads_dim]
    tile, block_heads, groups = split(width, *heads, BACKWARD)
    ways = interleaved(pairing)
    n_tokens = batches * length
    sent = dyq is not None, dyk is not None
    each = cdiv(n_tokens, tile.block_rows)
    blocks = [each * n if given else 0 for given, n in zip(sent, groups, strict=True)]
    ahead = stages(tile, 2 * block_heads, q.dtype)
    held = 2 * block_heads * q.dtype.itemsize + 2 * cos.dtype.itemsize  # of each element of a tile
    buffers = (ahead - 1) * held * tile.block_rows * tile.block_cols
    tile = tile._replace(resident=_resident(tile, buffers))
    sharing = _share(blocks, programs(q, sum(blocks) * tile.block_rows, tile))
    q_parts, k_parts = (
        q.new_empty((n, width), dtype=torch.float32) if need else None
        for n, need in zip(sharing, needs[2:], strict=True)
    )
    if sum(sharing):
        with device_of(q):
            _qk_norm_rope_bwd[(sum(sharing),)](
                *memory[:2],
                q_parts,
                k_parts,
                *memory[2:],
                q_weight.contiguous(),
                k_weight.contiguous(),
                cos,
                sin,
                eps,
                offset,
                n_tokens,
                length,
                heads,
                groups,
                *sharing,
                *strides,
                table_strides,
                bounds(sections),
                BLOCK_TOKENS=tile.block_rows,
                HEADS=block_heads,
                FROM=ways[0],
                TO=ways[1],
                STAGES=ahead,
                num_warps=tile.num_warps,
                **constants(
                    width, cos.shape[-1], per_pair, bool(sections), table_strides, *strides
                ),
            )
    parts = [t for t in (q_parts, k_parts) if t is not None]
    dweights = add_all_parts(parts, [(width,)] * len(parts), q.dtype)
    return [*(dx for dx in (dq, dk) if dx is not None), *dweights]


def _given(x: Tensor | None, heads_dim: int) -> tuple[Tensor | None, tuple[int, int, int]]:
    """What a kernel is given of heads: memory, and how far apart in it they are."""
    if x is None:
        return None, (0, 0, 0)
    memory, lie = heads_of(x, heads_dim)
    return memory, lie.strides


def _resident(tile: Tile, buffers: int) -> int:
    """The warps that are started for, or as many as have room for their programs' buffers: a
    program more than there is room for begins when others have ended, and has the GPU for itself.
    """
    if buffers:
        return min(tile.resident, tile.num_warps * max(1, _SHARED_BYTES // buffers))
    return tile.resident


def _share(blocks: list[int], n_programs: int) -> tuple[int, int]:
    """How many programs each of two tensors gets, by its blocks: at least one, if it has any."""
    first = round(n_programs * blocks[0] / sum(blocks)) if n_programs else 0
    shares = first, n_programs - first
    q, k = (max(min(1, n), share) for n, share in zip(blocks, shares, strict=True))
    return q, k


def _like(q: Tensor, k: Tensor, heads_dim: int) -> tuple[Tensor, Tensor]:
    yq, yk = (empty_like(x, heads_dim, tokens_outermost(x, heads_dim)) for x in (q, k))
    return yq, yk


def _forward_fake(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    offset: float,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
) -> tuple[Tensor, Tensor]:
    return _like(q, k, heads_dim)


def _backward_fake(
    dyq: Tensor | None,
    dyk: Tensor | None,
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    offset: float,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
    needs: list[bool],
) -> list[Tensor]:
    like = [*_like(q, k, heads_dim)]
    like += [q_weight.new_empty(q_weight.shape), k_weight.new_empty(k_weight.shape)]
    return [grad for grad, need in zip(like, needs, strict=True) if need]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    q, k, q_weight, k_weight, cos, sin, *ctx.options = inputs
    ctx.save_for_backward(q, k, q_weight, k_weight, cos, sin)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dyq: Tensor | None, dyk: Tensor | None) -> Any:
    sent = [dyq is not None, dyk is not None]
    needs = [s and need for s, need in zip(2 * sent, ctx.needs_input_grad[:4], strict=True)]
    # What sends a gradient to nothing that wants one is left out.
    dyq, dyk = (dy if any(needs[i::2]) else None for i, dy in enumerate((dyq, dyk)))
    grads = []
    if any(needs):
        grads = qk_norm_rope_backward(dyq, dyk, *ctx.saved_tensors, *ctx.options, needs)
    return *op.spread(grads, needs), *(None,) * 8


qk_norm_rope = op.define("qk_norm_rope", forward, fake=_forward_fake)
qk_norm_rope_backward = op.define("qk_norm_rope_backward", backward, fake=_backward_fake)
op.autograd("qk_norm_rope", save=_save, backward=_differentiate)
