"""group_norm: y = (x − mean(x)) / √(var(x) + eps)·weight + bias, over each group of channels

Forward, of a group of K channels with P positions each, L = K·P:
    mean    = Σ x / L
    var     = Σ (x − mean)² / L
    rstd    = 1/√(var + eps)
    y       = (x − mean) · (rstd · weight) + bias, both the channel's

Backward:
    x̂       = (x − mean) · rstd
    s, t    = Σ dy, Σ dy · x̂ over each channel's positions
    level   = Σ weight · s / L over the group's channels, slope = Σ weight · t / L
    dx      = (dy · weight − level − x̂ · slope) · rstd
    dweight = Σ t over the batch
    dbias   = Σ s over the batch

x, weight, bias, y: float32, bfloat16 or float16; arithmetic in float32. Every group's mean and rstd
are kept, in float32. Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes
1.

A program holds a group, read once. Of a group too large for that it holds a part, some channels or
part of one. A counter says whose turn a part is, whatever the order in which a GPU starts programs.
The two sums of a part are left as one number of 64 bits: who waits sees both or neither.
Where all parts of a group run at the same time anyhow, each program holds its part until the sums
over the group are complete: that is read once too. Of a group of more parts a program takes the
sums over one part, then makes y or dx of another, `lag` parts behind, whose second read comes out
of the L2 cache: so who waits, waits for programs that run already.
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
    Tile,
    cdiv,
    channel_tile,
    contiguous,
    device_of,
    multiprocessors,
)
from workbench_kernels.partials import add_all_parts
from workbench_kernels.tuning import ByWidth


@triton.jit
def _of_channels(PARAMETER, channels, mask, default):
    """The channels' parameter: [BLOCK_CHANNELS, 1]."""
    value = default
    if PARAMETER is not None:
        value = tl.load(PARAMETER + channels, mask=mask, other=0.0).to(tl.float32)
    return value


@triton.jit
def _turn(SUMS, lag):
    """The part that is this program's turn, counted behind the sums; nothing waits without any."""
    turn = tl.program_id(0)
    if SUMS is not None:
        counter = SUMS + (tl.num_programs(0) - lag)
        turn = (tl.atomic_add(counter, 1, sem="relaxed") + 1).to(tl.int32)
    return turn


@triton.jit
def _place(
    part,
    n_parts,
    across,
    n_channels,
    n_positions,
    SPAN: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Where a part lies: its group, its channels in that, its first position in them, and where
    each of its channels begins. `across` parts of SPAN positions make a channel.
    """
    group = part // n_parts
    within = part - group * n_parts
    channels = within // across * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)[:, None]
    position = within % across * SPAN
    # Nothing that is multiplied by the positions hides from the compiler what divides them.
    at = (group.to(tl.int64) * n_channels + channels) * n_positions + position
    return group, channels, position, at


@triton.jit
def _count(
    within, across, n_channels, n_positions, SPAN: tl.constexpr, BLOCK_CHANNELS: tl.constexpr
):
    """How many elements a part of a group has."""
    channels = n_channels - within // across * BLOCK_CHANNELS
    positions = n_positions - within % across * SPAN
    count = tl.minimum(channels, BLOCK_CHANNELS) * tl.minimum(positions, SPAN)
    return count.to(tl.float32)


@triton.jit
def _publish(SUMS, part, one, other, mask):
    """Leave a part's sums for the programs that wait for its group's."""
    low = one.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    both = other.to(tl.int32, bitcast=True).to(tl.int64) << 32 | low
    # Two NaN could have the bits of what has not been left; these are two NaN as well.
    tl.atomic_xchg(SUMS + part, tl.where(both == -1, -2, both), mask=mask, sem="relaxed")


@triton.jit
def _await(SUMS, group, n_parts, BLOCK_PARTS: tl.constexpr):
    """The sums of each of a group's parts, as soon as all have been left: [BLOCK_PARTS] each."""
    # The last part, whose turn is the last, mostly is left last: while one is looked at, the L2
    # cache has other things to do.
    while tl.load(SUMS + group * n_parts + n_parts - 1, volatile=True) == -1:
        pass
    parts = tl.arange(0, BLOCK_PARTS)
    at = SUMS + group * n_parts + parts
    both = tl.load(at, mask=parts < n_parts, other=0, volatile=True)
    while tl.max((both == -1).to(tl.int32)) == 1:
        both = tl.load(at, mask=parts < n_parts, other=0, volatile=True)
    one = both.to(tl.int32).to(tl.float32, bitcast=True)
    other = (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return one, other


@triton.jit
def _statistics(x, there, left, count, PIECES: tl.constexpr, BLOCK_POSITIONS: tl.constexpr):
    """The mean of a part's elements, `count` of them, and the sum of their squared distances."""
    total = tl.zeros_like(x[0].to(tl.float32))
    for piece in tl.static_range(PIECES):
        total += x[piece].to(tl.float32)
    mean = numerics.divide(tl.sum(total), count)
    apart = tl.zeros_like(total)
    squares = tl.zeros_like(total)
    for piece in tl.static_range(PIECES):
        mask = there & (pieces.columns(piece, BLOCK_POSITIONS) < left)
        centered = tl.where(mask, pieces.again(x[piece]).to(tl.float32) - mean, 0.0)
        apart += centered
        squares += centered * centered
    square = tl.sum(squares)
    if x[0].dtype == tl.float32:
        # Far from zero a sum is less exact than the differences; no 16 bits are as fine as that.
        error = numerics.divide(tl.sum(apart), count)
        mean += error
        square -= count * error * error
    return mean, square


@jit(do_not_specialize=["lag"])
def _group_norm_fwd(
    Y,
    MEAN,
    RSTD,
    SUMS,
    X,
    WEIGHT,
    BIAS,
    eps,
    n_parts,
    across,
    lag,
    n_groups,
    n_channels,
    n_chunks,
    CHUNK: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    HELD: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
):
    """y of a part; of the statistics of parts the group's are made as Chan does it."""
    SPAN: tl.constexpr = PIECES * BLOCK_POSITIONS
    n_positions = n_chunks * CHUNK
    size = n_channels * n_positions
    turn = _turn(SUMS, lag)
    part = turn - lag
    group, channels, position, at = _place(
        part, n_parts, across, n_channels, n_positions, SPAN, BLOCK_CHANNELS
    )
    there = (channels < n_channels) & (part >= 0)
    left = n_positions - position
    # What will be needed is on its way before anything waits.
    channels += group % n_groups * n_channels
    weight = _of_channels(WEIGHT, channels, there, 1.0)
    bias = _of_channels(BIAS, channels, there, 0.0)
    if SUMS is None:
        x = pieces.load(X + at, there, left, PIECES, BLOCK_POSITIONS)
        mean, square = _statistics(x, there, left, size, PIECES, BLOCK_POSITIONS)
    else:
        exists = turn < tl.num_programs(0) - lag  # the last programs only make y
        other, ahead, start, to = _place(
            turn, n_parts, across, n_channels, n_positions, SPAN, BLOCK_CHANNELS
        )
        ahead = (ahead < n_channels) & exists
        x = pieces.load(X + to, ahead, n_positions - start, PIECES, BLOCK_POSITIONS)
        within = turn - other * n_parts
        count = _count(within, across, n_channels, n_positions, SPAN, BLOCK_CHANNELS)
        mean, square = _statistics(x, ahead, n_positions - start, count, PIECES, BLOCK_POSITIONS)
        if not HELD:
            x = pieces.load(X + at, there, left, PIECES, BLOCK_POSITIONS)
        _publish(SUMS, turn, mean, square, exists)
        if part < 0:  # the first programs only take sums
            return
        means, squares = _await(SUMS, group, n_parts, BLOCK_PARTS)
        parts = tl.arange(0, BLOCK_PARTS)
        counts = _count(parts, across, n_channels, n_positions, SPAN, BLOCK_CHANNELS)
        counts = tl.where(parts < n_parts, counts, 0.0)
        mean = numerics.divide(tl.sum(counts * means), size)
        square = tl.sum(squares + counts * numerics.square(means - mean))
    rstd = tl.rsqrt(numerics.divide(square, size) + eps)
    tl.store(MEAN + group, mean)
    tl.store(RSTD + group, rstd)
    scale = rstd * weight
    # PyTorch folds the mean into what is added. Far from zero that is less exact, but where a
    # weight is infinite it decides which results are NaN.
    folded = tl.abs(scale) == float("inf")
    centre = tl.where(folded, 0.0, mean)
    shift = tl.where(folded, bias - mean * scale, bias)
    for piece in tl.static_range(PIECES):
        positions = pieces.columns(piece, BLOCK_POSITIONS)
        y = (pieces.again(x[piece]).to(tl.float32) - centre) * scale + shift
        mask = there & (positions < left)
        # Out of the cache first: what is read again may be there.
        tl.store(Y + at + positions, y.to(Y.dtype.element_ty), mask, eviction_policy="evict_first")


@jit(do_not_specialize=["lag"])
def _group_norm_bwd(
    DX,
    DWEIGHT_PARTS,
    DBIAS_PARTS,
    SUMS,
    DY,
    X,
    WEIGHT,
    MEAN,
    RSTD,
    n_parts,
    across,
    lag,
    n_groups,
    n_channels,
    n_chunks,
    CHUNK: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    HELD: tl.constexpr,
    PIECES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
):
    """dx of a part; what a part gives to its channels' parameters."""
    SPAN: tl.constexpr = PIECES * BLOCK_POSITIONS
    n_positions = n_chunks * CHUNK
    size = n_channels * n_positions
    turn = _turn(SUMS, lag)
    exists = turn < tl.num_programs(0) - lag  # the last programs only make dx
    group, channels, position, at = _place(
        turn, n_parts, across, n_channels, n_positions, SPAN, BLOCK_CHANNELS
    )
    there = (channels < n_channels) & exists
    left = n_positions - position
    dy = pieces.load(DY + at, there, left, PIECES, BLOCK_POSITIONS)
    x = pieces.load(X + at, there, left, PIECES, BLOCK_POSITIONS)
    mean = tl.load(MEAN + group, mask=exists, other=0.0)
    rstd = tl.load(RSTD + group, mask=exists, other=0.0)
    first = group % n_groups * n_channels
    weight = _of_channels(WEIGHT, first + channels, there, 1.0)
    s = tl.zeros([BLOCK_CHANNELS, BLOCK_POSITIONS], tl.float32)
    t = tl.zeros([BLOCK_CHANNELS, BLOCK_POSITIONS], tl.float32)
    for piece in tl.static_range(PIECES):
        s += dy[piece].to(tl.float32)
        t += dy[piece].to(tl.float32) * ((x[piece].to(tl.float32) - mean) * rstd)
    s = tl.sum(s, axis=1, keep_dims=True)
    t = tl.sum(t, axis=1, keep_dims=True)
    # An image has a row for each block of positions, in which its channels lie side by side.
    row = group // n_groups * across + position // SPAN
    place = row.to(tl.int64) * n_groups * n_channels + first + channels
    if DWEIGHT_PARTS is not None:
        tl.store(DWEIGHT_PARTS + place, t, mask=there)
    if DBIAS_PARTS is not None:
        tl.store(DBIAS_PARTS + place, s, mask=there)
    if DX is not None:
        level, slope = tl.sum(weight * s), tl.sum(weight * t)
        if SUMS is not None:
            part = turn - lag
            group, channels, position, at = _place(
                part, n_parts, across, n_channels, n_positions, SPAN, BLOCK_CHANNELS
            )
            there = (channels < n_channels) & (part >= 0)
            left = n_positions - position
            if not HELD:
                # What will be needed is on its way before anything waits.
                dy = pieces.load(DY + at, there, left, PIECES, BLOCK_POSITIONS)
                x = pieces.load(X + at, there, left, PIECES, BLOCK_POSITIONS)
                mean = tl.load(MEAN + group, mask=part >= 0, other=0.0)
                rstd = tl.load(RSTD + group, mask=part >= 0, other=0.0)
                first = group % n_groups * n_channels
                weight = _of_channels(WEIGHT, first + channels, there, 1.0)
            _publish(SUMS, turn, level, slope, exists)
            if part < 0:  # the first programs only take sums
                return
            levels, slopes = _await(SUMS, group, n_parts, BLOCK_PARTS)
            level, slope = tl.sum(levels), tl.sum(slopes)
        level, slope = numerics.divide(level, size), numerics.divide(slope, size)
        for piece in tl.static_range(PIECES):
            positions = pieces.columns(piece, BLOCK_POSITIONS)
            xhat = (pieces.again(x[piece]).to(tl.float32) - mean) * rstd
            dx = (pieces.again(dy[piece]).to(tl.float32) * weight - level - xhat * slope) * rstd
            mask = there & (positions < left)
            tl.store(DX + at + positions, dx.to(DX.dtype.element_ty), mask=mask)


# Programs that wait for others which have not begun must not be all that run. Turns go by order: of
# the oldest group all parts run once that many programs do. So there must be a multiprocessor for
# each, and there is for so many such kernels at the same time.
_ROOM = 4

# With what the kernels are launched, by the size of a group; tuning.py says what it means and what
# may be tried. Of a group that has more elements than these a program holds a part; where it reads
# that again, `resident` says how far behind its sums y or dx are made: too near, programs wait; too
# far, the L2 cache has lost the part.
FORWARD = ByWidth(
    {"elements": 16384, "per_thread": 16, "resident": 16, "registers": 255},
    {
        8192: {"per_thread": 32},
        32768: {"elements": 8192, "per_thread": 64, "registers": 64},
        262144: {"elements": 16384, "per_thread": 128, "registers": 255},
    },
    choices={"per_thread": (16, 8, 32, 64, 128)},
)
BACKWARD = ByWidth(
    {"elements": 16384, "per_thread": 16, "resident": 16, "registers": 255},
    {
        16384: {"per_thread": 32, "registers": 64},
        32768: {"elements": 4096, "per_thread": 64, "registers": 96},
        262144: {"elements": 8192, "per_thread": 32, "registers": 64},
    },
    choices={"per_thread": (16, 8, 32, 64, 128)},
)


def forward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, num_groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y, then what the backward needs of each group, mean and rstd."""
    x, weight, bias = x.contiguous(), contiguous(weight), contiguous(bias)
    y, mean, rstd = _outputs(x, num_groups)
    channels, positions = _sizes(x, num_groups)
    tile = channel_tile(channels, positions, FORWARD)
    programs, sums, sizes, constants = _launch(x, num_groups, tile)
    with device_of(x):
        _group_norm_fwd[(programs,)](y, mean, rstd, sums, x, weight, bias, eps, *sizes, **constants)
    return y, mean, rstd


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    num_groups: int,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, of x, weight and bias in this order."""
    dy, x, weight = dy.contiguous(), x.contiguous(), contiguous(weight)
    dx = torch.empty_like(x, memory_format=torch.contiguous_format) if needs[0] else None
    channels, positions = _sizes(x, num_groups)
    tile = channel_tile(channels, positions, BACKWARD)
    across = cdiv(positions, tile.pieces * tile.block_cols)
    rows = (x.shape[0] * across, x.shape[1])
    parts = [x.new_empty(rows, dtype=torch.float32) if need else None for need in needs[1:]]
    programs, sums, sizes, constants = _launch(x, num_groups, tile)
    with device_of(x):
        _group_norm_bwd[(programs,)](
            dx, *parts, sums, dy, x, weight, mean, rstd, *sizes, **constants
        )
    given = [part for part in parts if part is not None]
    grads = add_all_parts(given, [x.shape[1:2]] * len(given), x.dtype)
    return grads if dx is None else [dx, *grads]


def _launch(
    x: Tensor, num_groups: int, tile: Tile
) -> tuple[int, Tensor | None, tuple[int, ...], dict[str, int | None]]:
    """How many programs there are, through what they speak to each other, and the numbers and the
    constants that both kernels take.
    """
    channels, positions = _sizes(x, num_groups)
    across = cdiv(positions, tile.pieces * tile.block_cols)
    parts = cdiv(channels, tile.block_rows) * across
    groups = x.shape[0] * num_groups
    sums = None
    lag = 0
    held = parts * _ROOM <= multiprocessors(x)
    if parts > 1:
        # Two of each part, and how many parts are somebody's turn; -1 says nothing has been left.
        sums = x.new_full((groups * parts + 1,), -1, dtype=torch.int64)
        if not held:
            # The rest of a group, and what else is on its way at the same time.
            lag = parts - 1 + max(1, tile.resident // tile.num_warps) * multiprocessors(x)
    chunk = min(8, positions & -positions)  # a power of two
    sizes = parts, across, lag, num_groups, channels, positions // chunk
    constants = {
        "CHUNK": chunk,
        "BLOCK_PARTS": triton.next_power_of_2(parts),
        "HELD": held,
        "PIECES": tile.pieces,
        "BLOCK_CHANNELS": tile.block_rows,
        "BLOCK_POSITIONS": tile.block_cols,
        "num_warps": tile.num_warps,
        "maxnreg": tile.registers,
    }
    return groups * parts + lag, sums, sizes, constants


def _sizes(x: Tensor, num_groups: int) -> tuple[int, int]:
    """Channels of a group, and positions of a channel."""
    positions = 1
    for size in x.shape[2:]:
        positions *= size
    return x.shape[1] // num_groups, positions


def _outputs(x: Tensor, num_groups: int) -> tuple[Tensor, Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    mean, rstd = (x.new_empty((x.shape[0], num_groups), dtype=torch.float32) for _ in range(2))
    return y, mean, rstd


def _forward_fake(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, num_groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(x, num_groups)


def _backward_fake(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    num_groups: int,
    needs: list[bool],
) -> list[Tensor]:
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    grads = dx, x.new_empty(x.shape[1:2]), x.new_empty(x.shape[1:2])
    return [grad for grad, needed in zip(grads, needs, strict=True) if needed]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, _bias, num_groups, _eps = inputs
    _y, mean, rstd = output
    ctx.save_for_backward(x, weight, mean, rstd)
    ctx.num_groups = num_groups
    ctx.mark_non_differentiable(mean, rstd)
    ctx.set_materialize_grads(False)  # else a launch makes zeros for each of them


def _differentiate(ctx: Any, dy: Tensor, _dmean: None, _drstd: None) -> Any:
    needs = list(ctx.needs_input_grad[:3])
    grads = group_norm_backward(dy, *ctx.saved_tensors, ctx.num_groups, needs)
    return *op.spread(grads, needs), None, None


group_norm = op.define("group_norm", forward, fake=_forward_fake)
group_norm_backward = op.define("group_norm_backward", backward, fake=_backward_fake)
op.autograd("group_norm", save=_save, backward=_differentiate)
