"""rope: every pair of a head's features is turned by the angle of its token.

Forward, of the pair (x₁, x₂):
    y₁ = x₁ · cos₁ − x₂ · sin₁
    y₂ = x₂ · cos₂ + x₁ · sin₂

Backward:
    dx₁ = dy₁ · cos₁ + dy₂ · sin₂
    dx₂ = dy₂ · cos₂ − dy₁ · sin₁

Features beyond those that are rotated pass through. x₁ and x₂ are features i and i + R/2 of the R
that are rotated, or 2i and 2i + 1; tables have a value for each feature, or one for each pair.

q, k, y: float32, bfloat16 or float16; arithmetic in float32.
Transfers: every head is read once and written once, the tables are read once for all heads.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.jit import jit
from workbench_kernels.launch import cdiv, device_of
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
def _turn(
    Y,
    X,
    COS,
    SIN,
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
    BACK: tl.constexpr,
):
    """Turn a group of heads of some tokens, or turn them back."""
    # Everything is read before anything is stored: no compiler moves a load before a store.
    heads = group * HEADS + tl.arange(0, HEADS)[:, None, None]
    some = mask & (heads < n_heads)
    heads = heads.to(tl.int64)
    x_at = batch * x_strides[0] + place * x_strides[1] + heads * x_strides[2]
    y_at = batch * y_strides[0] + place * y_strides[1] + heads * y_strides[2]
    X += aligned(x_at, ALIGNED)
    Y += aligned(y_at, ALIGNED)
    x_1, x_2 = load_pairs(X, some, 1, HALF, BLOCK_HALF, FROM)
    table_at = batch * table_strides[1] + place * table_strides[2]
    table_at = aligned(table_at, ALIGNED)
    TABLED: tl.constexpr = FROM if BACK else TO  # tables lie as what the forward gives
    cos_1, cos_2 = load_table(
        COS + table_at, mask, table_strides, bounds, HALF, BLOCK_HALF, TABLED, PER_PAIR, SECTIONS
    )
    sin_1, sin_2 = load_table(
        SIN + table_at, mask, table_strides, bounds, HALF, BLOCK_HALF, TABLED, PER_PAIR, SECTIONS
    )
    if REST > 0:
        cols = 2 * HALF + tl.arange(0, BLOCK_REST)[None, None, :]
        inside = some & (cols < 2 * HALF + REST)
        rest = tl.load(X + cols, mask=inside, other=0.0)
        tl.store(Y + cols, rest, mask=inside)
    if BACK:
        y_1 = x_1 * cos_1 + x_2 * sin_2
        y_2 = x_2 * cos_2 - x_1 * sin_1
    else:
        y_1 = x_1 * cos_1 - x_2 * sin_1
        y_2 = x_2 * cos_2 + x_1 * sin_2
    store_pairs(Y, y_1, y_2, some, HALF, BLOCK_HALF, TO)


@jit(do_not_specialize=["n_tokens", "length"])
def _rope(
    YQ,
    YK,
    Q,
    K,
    COS,
    SIN,
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
    BACK: tl.constexpr,
):
    q_groups, k_groups = groups
    group = tl.program_id(0) % (q_groups + k_groups)
    block = tl.program_id(0) // (q_groups + k_groups)
    tokens = block * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)[None, :, None]
    mask = tokens < n_tokens
    batch, place = (tokens // length).to(tl.int64), (tokens % length).to(tl.int64)
    if group < q_groups:
        _turn(
            YQ, Q, COS, SIN, batch, place, group, heads[0], mask,
            yq_strides, q_strides, table_strides, bounds,
            HALF, BLOCK_HALF, REST, BLOCK_REST, HEADS, ALIGNED, FROM, TO, PER_PAIR, SECTIONS, BACK,
        )  # fmt: skip
    else:
        _turn(
            YK, K, COS, SIN, batch, place, group - q_groups, heads[1], mask,
            yk_strides, k_strides, table_strides, bounds,
            HALF, BLOCK_HALF, REST, BLOCK_REST, HEADS, ALIGNED, FROM, TO, PER_PAIR, SECTIONS, BACK,
        )  # fmt: skip


# With what the kernels are launched; tuning.py says what it means and what may be tried. A program
# holds `elements` of each of `heads` heads, which share what it read of the tables.
FORWARD = ByWidth(
    {"elements": 512, "per_thread": 32, "heads": 2},
    {128: {"elements": 2048, "per_thread": 16, "heads": 4}},
    choices={"heads": (4, 2, 8, 1)},
)
BACKWARD = ByWidth(
    {"elements": 512, "per_thread": 32, "heads": 2},
    {128: {"elements": 2048, "per_thread": 16, "heads": 4}},
    choices={"heads": (4, 2, 8, 1)},
)


def forward(
    q: Tensor,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
) -> tuple[Tensor, Tensor]:
    """q and k turned, each laid out as it came."""
    yq, yk = (empty_like(x, heads_dim, tokens_outermost(x, heads_dim)) for x in (q, k))
    ways = interleaved(pairing)
    options = per_pair, sections, heads_dim
    _launch((yq, yk), (q, k), (cos, sin), ways, *options, FORWARD, back=False)
    return yq, yk


def backward(
    dyq: Tensor,
    dyk: Tensor,
    cos: Tensor,
    sin: Tensor,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
    outermost: list[bool],
) -> tuple[Tensor, Tensor]:
    """The gradients of q and k, each laid out as that was."""
    dq, dk = (
        empty_like(dy, heads_dim, first) for dy, first in zip((dyq, dyk), outermost, strict=True)
    )
    ways = interleaved(pairing)[::-1]
    options = per_pair, sections, heads_dim
    _launch((dq, dk), (dyq, dyk), (cos, sin), ways, *options, BACKWARD, back=True)
    return dq, dk


def _launch(
    outputs: tuple[Tensor, Tensor],
    inputs: tuple[Tensor, Tensor],
    tables: tuple[Tensor, Tensor],
    ways: tuple[bool, bool],
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
    table: ByWidth,
    *,
    back: bool,
) -> None:
    """One launch for both tensors; `ways` says of inputs and outputs whether they interleave."""
    cos, sin, table_strides = tables_of(*tables, inputs[0], heads_dim, sections)
    memory, lie = zip(*(heads_of(t, heads_dim) for t in (*outputs, *inputs)), strict=True)
    batches, length, q_heads, width, _strides = lie[2]
    heads = q_heads, lie[3].heads
    tile, block_heads, groups = split(width, *heads, table)
    programs = cdiv(batches * length, tile.block_rows) * sum(groups)
    strides = [one.strides for one in lie]
    if not programs:
        return
    with device_of(cos):
        _rope[(programs,)](
            *memory,
            cos,
            sin,
            batches * length,
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
            BACK=back,
            num_warps=tile.num_warps,
            **constants(width, cos.shape[-1], per_pair, bool(sections), table_strides, *strides),
        )


def _forward_fake(
    q: Tensor,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
) -> tuple[Tensor, Tensor]:
    yq, yk = (empty_like(x, heads_dim, tokens_outermost(x, heads_dim)) for x in (q, k))
    return yq, yk


def _backward_fake(
    dyq: Tensor,
    dyk: Tensor,
    cos: Tensor,
    sin: Tensor,
    pairing: str,
    per_pair: bool,
    sections: list[int],
    heads_dim: int,
    outermost: list[bool],
) -> tuple[Tensor, Tensor]:
    dq, dk = (
        empty_like(dy, heads_dim, first) for dy, first in zip((dyq, dyk), outermost, strict=True)
    )
    return dq, dk


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    q, k, cos, sin, *ctx.options = inputs
    heads_dim = ctx.options[-1]
    ctx.outermost = [tokens_outermost(x, heads_dim) for x in (q, k)]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cos, sin)


def _differentiate(ctx: Any, dyq: Tensor | None, dyk: Tensor | None) -> Any:
    needs = ctx.needs_input_grad[:2]
    sent = [dy if need else None for dy, need in zip((dyq, dyk), needs, strict=True)]
    known = next((dy for dy in sent if dy is not None), None)
    if known is None:
        return (None,) * 8
    # What nobody asks for is a tensor without heads.
    given = [known.narrow(ctx.options[-1], 0, 0) if dy is None else dy for dy in sent]
    grads = rope_backward(*given, *ctx.saved_tensors, *ctx.options, ctx.outermost)
    wanted = [None if dy is None else grad for dy, grad in zip(sent, grads, strict=True)]
    return *wanted, *(None,) * 6


rope = op.define("rope", forward, fake=_forward_fake)
rope_backward = op.define("rope_backward", backward, fake=_backward_fake)
op.autograd("rope", save=_save, backward=_differentiate)
