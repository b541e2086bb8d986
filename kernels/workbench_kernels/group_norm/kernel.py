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
are kept, in float32. A group lies in one piece, and a program goes through it twice; the second
time it comes out of the L2 cache, or the L1 cache if it is small.
Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes 1.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op
from workbench_kernels.launch import channel_tile, contiguous, device_of, stages
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
def _place(
    step, n_channels, n_positions, BLOCK_CHANNELS: tl.constexpr, BLOCK_POSITIONS: tl.constexpr
):
    """The channels of a step through a group, where it reads, and which of that there is."""
    across = tl.cdiv(n_positions, BLOCK_POSITIONS)
    channels = step // across * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)[:, None]
    positions = step % across * BLOCK_POSITIONS + tl.arange(0, BLOCK_POSITIONS)[None, :]
    mask = (channels < n_channels) & (positions < n_positions)
    return channels, channels * n_positions + positions, mask


@triton.jit
def _group_norm_fwd(
    Y,
    MEAN,
    RSTD,
    X,
    WEIGHT,
    BIAS,
    eps,
    n_groups,
    n_channels,
    n_positions,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A group; its statistics as Welford and Chan do it."""
    group = tl.program_id(0)
    size = n_channels * n_positions
    X += group.to(tl.int64) * size
    Y += group.to(tl.int64) * size
    first = group % n_groups * n_channels
    # Each lane has a mean and squares of its own, so that no step waits for another thread.
    count = tl.zeros([BLOCK_CHANNELS, BLOCK_POSITIONS], tl.float32)
    means = tl.zeros([BLOCK_CHANNELS, BLOCK_POSITIONS], tl.float32)
    squares = tl.zeros([BLOCK_CHANNELS, BLOCK_POSITIONS], tl.float32)
    steps = tl.cdiv(n_channels, BLOCK_CHANNELS) * tl.cdiv(n_positions, BLOCK_POSITIONS)
    for step in tl.range(0, steps, num_stages=STAGES):
        _, at, mask = _place(step, n_channels, n_positions, BLOCK_CHANNELS, BLOCK_POSITIONS)
        x = tl.load(X + at, mask=mask, other=0.0, eviction_policy="evict_last").to(tl.float32)
        count += tl.where(mask, 1.0, 0.0)
        delta = tl.where(mask, x - means, 0.0)
        means += delta / tl.maximum(count, 1.0)
        squares += delta * (x - means)
    mean = numerics.divide(tl.sum(tl.sum(count * means, axis=1), axis=0), size)
    apart = means - mean
    total = tl.sum(tl.sum(squares + count * apart * apart, axis=1), axis=0)
    rstd = tl.rsqrt(numerics.divide(total, size) + eps)
    tl.store(MEAN + group, mean)
    tl.store(RSTD + group, rstd)
    for step in tl.range(0, steps, num_stages=STAGES):
        channels, at, mask = _place(step, n_channels, n_positions, BLOCK_CHANNELS, BLOCK_POSITIONS)
        x = tl.load(X + at, mask=mask, other=0.0, eviction_policy="evict_first").to(tl.float32)
        weight = _of_channels(WEIGHT, first + channels, channels < n_channels, 1.0)
        bias = _of_channels(BIAS, first + channels, channels < n_channels, 0.0)
        scale = rstd * weight
        # PyTorch folds the mean into what is added. Far from zero that is less exact, but where a
        # weight is infinite it decides which results are NaN.
        folded = tl.abs(scale) == float("inf")
        centre = tl.where(folded, 0.0, mean)
        shift = tl.where(folded, bias - mean * scale, bias)
        y = (x - centre) * scale + shift
        tl.store(Y + at, y.to(Y.dtype.element_ty), mask=mask)


@triton.jit
def _group_norm_bwd(
    DX,
    DWEIGHT_PARTS,
    DBIAS_PARTS,
    DY,
    X,
    WEIGHT,
    MEAN,
    RSTD,
    n_groups,
    n_channels,
    n_positions,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_POSITIONS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A group; of its channels' parameters what one image gives them."""
    group = tl.program_id(0)
    size = n_channels * n_positions
    DY += group.to(tl.int64) * size
    X += group.to(tl.int64) * size
    first = group % n_groups * n_channels
    mean, rstd = tl.load(MEAN + group), tl.load(RSTD + group)
    levels = tl.zeros([BLOCK_CHANNELS, 1], tl.float32)
    slopes = tl.zeros([BLOCK_CHANNELS, 1], tl.float32)
    s_so_far = tl.zeros([BLOCK_CHANNELS, 1], tl.float32)
    t_so_far = tl.zeros([BLOCK_CHANNELS, 1], tl.float32)
    across = tl.cdiv(n_positions, BLOCK_POSITIONS)
    steps = tl.cdiv(n_channels, BLOCK_CHANNELS) * across
    for step in tl.range(0, steps, num_stages=STAGES):
        channels, at, mask = _place(step, n_channels, n_positions, BLOCK_CHANNELS, BLOCK_POSITIONS)
        dy = tl.load(DY + at, mask=mask, other=0.0, eviction_policy="evict_last").to(tl.float32)
        x = tl.load(X + at, mask=mask, other=0.0, eviction_policy="evict_last").to(tl.float32)
        s = tl.sum(dy, axis=1, keep_dims=True)
        t = tl.sum(dy * ((x - mean) * rstd), axis=1, keep_dims=True)
        weight = _of_channels(WEIGHT, first + channels, channels < n_channels, 1.0)
        levels += weight * s
        slopes += weight * t
        # Of a channel in several blocks what counts is what the last one leaves.
        s_so_far = s + tl.where(step % across > 0, s_so_far, 0.0)
        t_so_far = t + tl.where(step % across > 0, t_so_far, 0.0)
        # The groups of an image lie side by side, as its channels do.
        place = group * n_channels + channels
        if DWEIGHT_PARTS is not None:
            tl.store(DWEIGHT_PARTS + place, t_so_far, mask=channels < n_channels)
        if DBIAS_PARTS is not None:
            tl.store(DBIAS_PARTS + place, s_so_far, mask=channels < n_channels)
    if DX is not None:
        DX += group.to(tl.int64) * size
        level = numerics.divide(tl.sum(tl.sum(levels, axis=1), axis=0), size)
        slope = numerics.divide(tl.sum(tl.sum(slopes, axis=1), axis=0), size)
        for step in tl.range(0, steps, num_stages=STAGES):
            channels, at, mask = _place(
                step, n_channels, n_positions, BLOCK_CHANNELS, BLOCK_POSITIONS
            )
            dy = tl.load(DY + at, mask=mask, other=0.0, eviction_policy="evict_first")
            x = tl.load(X + at, mask=mask, other=0.0, eviction_policy="evict_first")
            weight = _of_channels(WEIGHT, first + channels, channels < n_channels, 1.0)
            xhat = (x.to(tl.float32) - mean) * rstd
            dx = (dy.to(tl.float32) * weight - level - xhat * slope) * rstd
            tl.store(DX + at, dx.to(DX.dtype.element_ty), mask=mask)


# With what the kernels are launched, by the size of a group; tuning.py says what it means and what
# may be tried. Of large groups few may be in flight, or the L2 cache can't keep them.
FORWARD = ByWidth(
    {"elements": 2048, "per_thread": 8, "stages": 3},
    {8192: {"elements": 4096}, 65536: {"elements": 8192}},
)
BACKWARD = ByWidth(
    {"elements": 2048, "per_thread": 8, "stages": 3},
    {8192: {"elements": 4096}, 32768: {"elements": 8192}},
)


def forward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, num_groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y, then what the backward needs of each group, mean and rstd."""
    x, weight, bias = x.contiguous(), contiguous(weight), contiguous(bias)
    y, mean, rstd = _outputs(x, num_groups)
    channels, positions = _sizes(x, num_groups)
    tile = channel_tile(channels, positions, FORWARD)
    with device_of(x):
        _group_norm_fwd[(mean.numel(),)](
            y,
            mean,
            rstd,
            x,
            weight,
            bias,
            eps,
            num_groups,
            channels,
            positions,
            BLOCK_CHANNELS=tile.block_rows,
            BLOCK_POSITIONS=tile.block_cols,
            STAGES=stages(tile, 1, x.dtype),
            num_warps=tile.num_warps,
        )
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
    parts = [x.new_empty(x.shape[:2], dtype=torch.float32) if need else None for need in needs[1:]]
    channels, positions = _sizes(x, num_groups)
    tile = channel_tile(channels, positions, BACKWARD)
    with device_of(x):
        _group_norm_bwd[(mean.numel(),)](
            dx,
            *parts,
            dy,
            x,
            weight,
            mean,
            rstd,
            num_groups,
            channels,
            positions,
            BLOCK_CHANNELS=tile.block_rows,
            BLOCK_POSITIONS=tile.block_cols,
            STAGES=stages(tile, 2, x.dtype),
            num_warps=tile.num_warps,
        )
    given = [part for part in parts if part is not None]
    sums = add_all_parts(given, [x.shape[1:2]] * len(given), x.dtype)
    return sums if dx is None else [dx, *sums]


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
