"""What ops that rotate heads share: pairs of features, tables of cosines, how heads lie in memory.

A head's first R features are rotated in pairs: features i and R/2 + i, or 2i and 2i + 1 where they
are interleaved. Tables have R columns, or R/2: one for each pair.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import Tile, cdiv, check, check_shape, row_tile
from workbench_kernels.tuning import Table

PAIRINGS = ("half", "interleaved", "interleaved_to_half")


@triton.jit
def aligned(at, ALIGNED: tl.constexpr):
    """Offsets [heads, tokens, 1] of which the compiler is told that heads start at multiples of
    `ALIGNED`; not of a single one, which Triton 3.6 makes a scalar, and then fails on what it was
    told of three dimensions.
    """
    if at.numel > 1:
        at = tl.multiple_of(at, (1, 1, ALIGNED))
    return at


@triton.jit
def load_pairs(
    X, mask, stride, HALF: tl.constexpr, BLOCK_HALF: tl.constexpr, INTERLEAVED: tl.constexpr
):
    """The first and the second of each pair: [heads, tokens, BLOCK_HALF]."""
    if INTERLEAVED:
        cols = tl.arange(0, 2 * BLOCK_HALF)[None, None, :]
        both = tl.load(X + cols * stride, mask=mask & (cols < 2 * HALF), other=0.0)
        first, second = tl.split(tl.reshape(both, (both.shape[0], both.shape[1], BLOCK_HALF, 2)))
    else:
        cols = tl.arange(0, BLOCK_HALF)[None, None, :]
        inside = mask & (cols < HALF)
        first = tl.load(X + cols * stride, mask=inside, other=0.0)
        second = tl.load(X + (HALF + cols) * stride, mask=inside, other=0.0)
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit
def store_pairs(
    Y, first, second, mask, HALF: tl.constexpr, BLOCK_HALF: tl.constexpr, INTERLEAVED: tl.constexpr
):
    first, second = first.to(Y.dtype.element_ty), second.to(Y.dtype.element_ty)
    if INTERLEAVED:
        cols = tl.arange(0, 2 * BLOCK_HALF)[None, None, :]
        both = tl.join(first, second)
        both = tl.reshape(both, (both.shape[0], both.shape[1], 2 * BLOCK_HALF))
        tl.store(Y + cols, both, mask=mask & (cols < 2 * HALF))
    else:
        cols = tl.arange(0, BLOCK_HALF)[None, None, :]
        inside = mask & (cols < HALF)
        tl.store(Y + cols, first, mask=inside)
        tl.store(Y + HALF + cols, second, mask=inside)


@triton.jit
def load_table(
    TABLE,
    mask,
    strides,
    bounds,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    PER_PAIR: tl.constexpr,
    SECTIONS: tl.constexpr,
):
    """What goes with the first and the second of each pair: [1, tokens, BLOCK_HALF]."""
    axis_stride, _batch_stride, _token_stride, stride = strides
    if SECTIONS:
        if INTERLEAVED and not PER_PAIR:
            pairs = tl.arange(0, 2 * BLOCK_HALF)[None, None, :] // 2
        else:
            pairs = tl.arange(0, BLOCK_HALF)[None, None, :]
        for bound in tl.static_range(len(bounds)):
            TABLE += (pairs >= bounds[bound]).to(tl.int64) * axis_stride
    if PER_PAIR:
        cols = tl.arange(0, BLOCK_HALF)[None, None, :]
        first = tl.load(TABLE + cols * stride, mask=mask & (cols < HALF), other=0.0).to(tl.float32)
        second = first
    else:
        first, second = load_pairs(TABLE, mask, stride, HALF, BLOCK_HALF, INTERLEAVED)
    return first, second


def interleaved(pairing: str) -> tuple[bool, bool]:
    """Whether pairs lie next to each other in what is rotated, and in what becomes of it."""
    return pairing != "half", pairing == "interleaved"


# Where heads and tables lie is worked out in plain numbers, once for each shape: the views that
# would say it take the host longer than a launch.
_SHAPES = 1024


class Heads(NamedTuple):
    """(batches, tokens, heads, features) in memory; features are dense, the others so far apart."""

    batches: int
    tokens: int
    heads: int
    width: int
    strides: tuple[int, int, int]


def heads_of(x: Tensor, heads_dim: int) -> tuple[Tensor, Heads]:
    """Memory that has the heads of `x`, and where in it: its own, but where heads lie in a way that
    a kernel can't be told.
    """
    found = _heads(x.shape, x.stride(), heads_dim)
    if found is None:
        x = x.movedim(heads_dim, -2).contiguous()
        found = _heads(x.shape, x.stride(), -2)
        assert found is not None, "what is contiguous has four dimensions"
    return x, found


@lru_cache(_SHAPES)
def _heads(shape: Sequence[int], strides: Sequence[int], heads_dim: int) -> Heads | None:
    """None where features aren't dense, or batches aren't one dimension."""
    heads = heads_dim % len(shape)
    others = [dim for dim in range(len(shape) - 1) if dim != heads]
    tokens = _together([(shape[dim], strides[dim]) for dim in others[-1:]])
    batches = _together([(shape[dim], strides[dim]) for dim in others[:-1]])
    if strides[-1] != 1 or batches is None or tokens is None:
        return None
    steps = batches[1], tokens[1], strides[heads]
    return Heads(batches[0], tokens[0], shape[heads], shape[-1], steps)


def _together(dims: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The size and stride of the one dimension that some are, outermost first; None if none is."""
    size, stride = 1, 0
    for own_size, own_stride in reversed(dims):
        if own_size == 1:
            continue
        if size == 1:
            stride = own_stride
        elif own_stride != size * stride:
            return None
        size *= own_size
    return size, stride


def tables_of(
    cos: Tensor, sin: Tensor, x: Tensor, heads_dim: int, sections: list[int]
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Tables, and how far apart axes, batches, tokens and columns are as seen from the tokens of
    `x`: the same for both.
    """
    has_axes = bool(sections)
    strides = _table(cos.shape, cos.stride(), x.shape, heads_dim, has_axes)
    if strides is None or strides != _table(sin.shape, sin.stride(), x.shape, heads_dim, has_axes):
        tokens = _tokens(x.shape, heads_dim)
        cos, sin = (_one_per_token(table, tokens, has_axes) for table in (cos, sin))
        strides = _table(cos.shape, cos.stride(), x.shape, heads_dim, True)
        assert strides is not None, "what is contiguous has four dimensions"
    return cos, sin, strides


def _tokens(shape: Sequence[int], heads_dim: int) -> tuple[int, ...]:
    """The sizes of the dimensions, batches' before tokens', that are no head's."""
    heads = heads_dim % len(shape)
    return tuple(size for dim, size in enumerate(shape[:-1]) if dim != heads)


@lru_cache(_SHAPES)
def _table(
    shape: Sequence[int],
    strides: Sequence[int],
    shape_of_x: Sequence[int],
    heads_dim: int,
    has_axes: bool,
) -> tuple[int, ...] | None:
    """None where batches aren't one dimension."""
    tokens = _tokens(shape_of_x, heads_dim)
    axis = strides[0] if has_axes else 0
    own = list(zip(shape, strides, strict=True))[1 if has_axes else 0 : -1]
    steps = [0] * (len(tokens) - len(own)) + [0 if size == 1 else step for size, step in own]
    dims = list(zip(tokens, steps, strict=True))
    token, batches = _together(dims[-1:]), _together(dims[:-1])
    if token is None or batches is None:
        return None
    return axis, batches[1], token[1], strides[-1]


def _one_per_token(table: Tensor, tokens: tuple[int, ...], has_axes: bool) -> Tensor:
    """(axes, *tokens, columns), contiguous."""
    axes, *own = table.shape if has_axes else (1, *table.shape)
    table = table.reshape((axes, *(1,) * (len(tokens) + 1 - len(own)), *own))
    return table.expand((axes, *tokens, own[-1])).contiguous()


class Split(NamedTuple):
    """How heads are dealt out to programs: each has `heads` of them at the tile's many tokens."""

    tile: Tile
    heads: int
    groups: tuple[int, int]  # of q and of k


@cache
def split(width: int, q_heads: int, k_heads: int, table: Table) -> Split:
    """The tokens and heads of a program, by what an op declares; its parameter `heads` says how
    many heads share what is read of the tables.
    """
    heads = min(table.at(width)["heads"], _power_of_2(max(q_heads, k_heads)))
    return Split(row_tile(width, table), heads, (cdiv(q_heads, heads), cdiv(k_heads, heads)))


def _power_of_2(number: int) -> int:
    """The smallest power of two from `number` on. Triton's own takes a microsecond."""
    return 1 << (number - 1).bit_length() if number > 1 else 1


@lru_cache(_SHAPES)
def constants(
    width: int, columns: int, per_pair: bool, has_axes: bool, *strides: tuple[int, ...]
) -> Mapping[str, int]:
    """What is compiled into a kernel of how heads and tables lie, by `strides` of all of them."""
    # What all heads and rows of tables start at multiples of. Triton itself sees only multiples of
    # 16, which heads of 72 features aren't.
    divisor = math.gcd(width, columns, 16)
    starts = math.gcd(*(step for steps in strides for step in steps[:3]))
    half = columns if per_pair else columns // 2
    rest = width - 2 * half
    return {
        "HALF": half,
        "BLOCK_HALF": _power_of_2(half),
        "REST": rest,
        "BLOCK_REST": _power_of_2(rest),
        "ALIGNED": divisor if starts % divisor == 0 else 1,
        "PER_PAIR": per_pair,
        "SECTIONS": has_axes,
    }


def bounds(sections: Sequence[int]) -> tuple[int, ...]:
    """The pairs at which each section but the first begins."""
    return tuple(itertools.accumulate(sections))[:-1]


def tokens_outermost(x: Tensor, heads_dim: int) -> bool:
    """Whether the heads of a token lie together in memory, rather than the tokens of a head."""
    heads = heads_dim % x.ndim
    last_of_tokens = x.ndim - (3 if heads == x.ndim - 2 else 2)
    return x.ndim < 3 or bool(x.stride(heads) <= x.stride(last_of_tokens))


def empty_like(x: Tensor, heads_dim: int, tokens_outermost: bool) -> Tensor:
    """Dense memory of the shape of `x`. No view: of two that an op gives, PyTorch lets neither be
    changed in place.
    """
    heads = heads_dim % x.ndim
    if heads == x.ndim - (2 if tokens_outermost else 3):
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    *dims, features = range(x.ndim)
    dims.remove(heads)
    dims.insert(len(dims) if tokens_outermost else len(dims) - 1, heads)
    strides, size = [1] * x.ndim, x.shape[features]
    for dim in reversed(dims):
        strides[dim] = size
        size = size * x.shape[dim]
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device)


def check_heads(op: str, q: Tensor, k: Tensor, heads_dim: int) -> None:
    """Refuse heads of k that are not as those of q, but for their number.

    Raises:
        ValueError: with the shape it has and the shape it should have.
    """
    if k.ndim != q.ndim:
        raise ValueError(f"{op}: k has {k.ndim} dimensions, expected {q.ndim}")
    expected = [*q.shape]
    expected[heads_dim] = k.shape[heads_dim]
    check_shape(op, "k", k, tuple(expected))


def check_tables(
    op: str,
    q: Tensor,
    cos: Tensor,
    sin: Tensor,
    pairing: str,
    per_pair: bool,
    sections: Sequence[int],
    heads_dim: int,
) -> None:
    """Refuse tables that don't fit q, and what doesn't say how pairs and heads lie.

    Raises:
        TypeError: a dtype that is neither float32 nor that of q.
        ValueError: a shape that doesn't fit, an unknown pairing, tables that want a gradient.
    """
    if q.ndim < 2 or not -q.ndim <= heads_dim < q.ndim or heads_dim % q.ndim == q.ndim - 1:
        raise ValueError(f"{op}: q has shape {tuple(q.shape)}, its heads can't be {heads_dim}")
    if pairing not in PAIRINGS:
        raise ValueError(f"{op}: pairing is {pairing!r}; there are {', '.join(PAIRINGS)}")
    check(op, cos=cos, sin=sin)
    check_shape(op, "sin", sin, cos.shape)
    if cos.dtype not in (q.dtype, torch.float32):
        raise TypeError(f"{op}: cos is {cos.dtype}; it must be float32, or {q.dtype} as q is")
    if cos.device != q.device:
        raise ValueError(f"{op}: cos is on {cos.device}, expected {q.device}")
    if torch.is_grad_enabled() and (cos.requires_grad or sin.requires_grad):
        raise ValueError(f"{op}: cos and sin have no gradient; detach them")
    _check_sizes(op, q, cos, per_pair, sections, heads_dim)


def _check_sizes(
    op: str, q: Tensor, cos: Tensor, per_pair: bool, sections: Sequence[int], heads_dim: int
) -> None:
    shape = tuple(cos.shape)
    if not shape:
        raise ValueError(f"{op}: cos has no dimension")
    rotary = shape[-1] * (2 if per_pair else 1)
    if rotary % 2 or not 0 < rotary <= q.shape[-1]:
        raise ValueError(f"{op}: {rotary} of {q.shape[-1]} features can't be rotated in pairs")
    given = shape[:-1]
    if sections:
        if given[:1] != (len(sections),) or min(sections) < 0 or 2 * sum(sections) != rotary:
            raise ValueError(f"{op}: sections {tuple(sections)} don't fit cos of shape {shape}")
        given = given[1:]
    tokens = _tokens(q.shape, heads_dim)
    matches = zip(reversed(given), reversed(tokens), strict=False)
    if len(given) > len(tokens) or any(size not in (1, wanted) for size, wanted in matches):
        raise ValueError(
            f"{op}: cos of shape {shape} can't be broadcast to the tokens {tokens} of q; "
            f"is heads_dim {heads_dim}?"
        )
