"""What losses between two distributions share: both softmaxes of a row in one read, which rows
count, and the sum over them.

p and q are softmax(P / temperature) and softmax(Q / temperature), or exp(P) and exp(Q) where P and
Q are log-probabilities. Kernels take logarithms to the base 2, as the exponents of exp2 are.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics
from workbench_kernels.jit import jit
from workbench_kernels.launch import (
    Tile,
    check,
    check_shape,
    check_width,
    device_of,
)

REDUCTIONS = ("none", "batchmean", "mean", "sum")
LOG2_E = 1.4426950408889634
LN_2 = tl.constexpr(0.6931471805599453)
# Below every finite number; not -inf, of which a difference would be NaN.
_LOWEST = tl.constexpr(-3.4028234663852886e38)
_WIDE_LOAD = 8  # elements of 16 bits that a thread loads at once
_ROWS_AT_ONCE = 8192  # of the one program that adds up all rows


@triton.jit
def columns(DEPTH: tl.constexpr, LANES: tl.constexpr, WIDE: tl.constexpr):
    """[1, DEPTH, LANES, WIDE]: where a step's columns are; a thread has a lane, `WIDE` of which lie
    side by side.
    """
    lane = tl.arange(0, DEPTH)[:, None, None] * LANES + tl.arange(0, LANES)[None, :, None]
    return (lane * WIDE + tl.arange(0, WIDE)[None, None, :])[None]


@triton.jit
def in_lanes(x):
    """[rows, lanes]: the sum of what each thread has, so that no step waits for another."""
    return tl.sum(tl.sum(x, axis=3), axis=1)


@triton.jit
def _highest(x):
    return tl.max(tl.max(x, axis=3), axis=1)


@triton.jit
def softmaxes(
    P,
    Q,
    used,
    to_log2,
    n_cols,
    end,
    CROSSED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Of the rows that P and Q point to, up to the column `end`, what makes probabilities of them:
    the maximum, and the scale 1 / Σ exp2(to_log2 · (x − maximum)), of each; the shift, log2 of P's
    scale over Q's; with `CROSSED` also KL(p‖q) to the base 2.

    log2(p / q) is to_log2 · ((P − max P) − (Q − max Q)) + shift, and KL(p‖q) its mean under p.
    """
    P, Q = P[:, None, None, None], Q[:, None, None, None]
    used = used[:, None, None, None]
    p_max = tl.full([BLOCK_ROWS, LANES], _LOWEST, tl.float32)
    q_max = tl.full([BLOCK_ROWS, LANES], _LOWEST, tl.float32)
    p_sum = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    q_sum = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    cross = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    for start in tl.range(0, end, DEPTH * LANES * WIDE, num_stages=STAGES):
        cols = start + columns(DEPTH, LANES, WIDE)
        mask = used & (cols < n_cols)
        x = tl.load(P + cols, mask=mask, other=float("-inf")).to(tl.float32)
        y = tl.load(Q + cols, mask=mask, other=float("-inf")).to(tl.float32)
        p_top, q_top = tl.maximum(p_max, _highest(x)), tl.maximum(q_max, _highest(y))
        p_low, q_low = p_max - p_top, q_max - q_top
        x, y = x - p_top[:, None, :, None], y - q_top[:, None, :, None]
        p, q = tl.exp2(x * to_log2), tl.exp2(y * to_log2)
        rescale = tl.exp2(p_low * to_log2)
        if CROSSED:
            cross = rescale * (cross + tl.where(p_sum == 0.0, 0.0, p_sum * (p_low - q_low)))
            cross += in_lanes(tl.where(p == 0.0, 0.0, p * (x - y)))
        p_sum = p_sum * rescale + in_lanes(p)
        q_sum = q_sum * tl.exp2(q_low * to_log2) + in_lanes(q)
        p_max, q_max = p_top, q_top
    p_top, q_top = tl.max(p_max, axis=1), tl.max(q_max, axis=1)
    p_low, q_low = p_max - p_top[:, None], q_max - q_top[:, None]
    rescale = tl.exp2(p_low * to_log2)
    p_total = tl.sum(p_sum * rescale, axis=1)
    q_total = tl.sum(q_sum * tl.exp2(q_low * to_log2), axis=1)
    # Of the quotient: the difference of two logarithms would be less exact.
    shift = tl.log2(numerics.divide(q_total, p_total))
    divergence = tl.zeros([BLOCK_ROWS], tl.float32)
    if CROSSED:
        cross = rescale * (cross + tl.where(p_sum == 0.0, 0.0, p_sum * (p_low - q_low)))
        divergence = numerics.divide(tl.sum(cross, axis=1) * to_log2, p_total) + shift
    p_scale, q_scale = numerics.divide(1.0, p_total), numerics.divide(1.0, q_total)
    return p_top, p_scale, q_top, q_scale, shift, divergence


@triton.jit
def row_offsets(rows, n_inner, outer_stride, inner_stride):
    """Where rows start, `n_inner` of them in each batch."""
    batch, row = (rows // n_inner).to(tl.int64), (rows % n_inner).to(tl.int64)
    return batch * outer_stride + row * inner_stride


@triton.jit
def prob(gap, scale, to_log2):
    """The probability of what is so far above the maximum of its row, as `softmaxes` gives what it
    takes; of a logarithm, with a maximum of 0 and a scale of 1.
    """
    return tl.exp2(gap * to_log2) * scale


@triton.jit
def counted_rows(rows, n_rows, LABELS, ignore_index):
    """Which rows there are and count: those whose label is not ignored."""
    counted = rows < n_rows
    if LABELS is not None:
        counted = counted & (tl.load(LABELS + rows, mask=counted, other=0) != ignore_index)
    return counted


@triton.jit
def upstream(DY, SCALE, rows, counted, PER_ROW: tl.constexpr):
    """The gradient of each row's loss, 0 where it does not count."""
    dy = tl.load(DY + rows * PER_ROW, mask=counted, other=0.0)
    if SCALE is not None:
        dy = tl.where(counted, dy * tl.load(SCALE), 0.0)
    return dy


@jit(do_not_specialize=["ignore_index", "n_rows"])
def _add_rows(
    Y,
    SCALE,
    ROW_LOSS,
    LABELS,
    ignore_index,
    n_rows,
    n_cols,
    BATCHMEAN: tl.constexpr,
    MEAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    loss = tl.zeros([BLOCK], tl.float32)
    count = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        loss += tl.load(ROW_LOSS + rows, mask=rows < n_rows, other=0.0)
        count += tl.where(counted_rows(rows, n_rows, LABELS, ignore_index), 1.0, 0.0)
    y = tl.sum(loss, axis=0)
    if BATCHMEAN or MEAN:
        divisor = tl.sum(count, axis=0)
        if MEAN:
            divisor *= n_cols
        y = numerics.divide(y, divisor)
        # A division less in each of the backward's programs.
        tl.store(SCALE, numerics.divide(1.0, divisor))
    tl.store(Y, y)


def add_rows(
    y: Tensor,
    scale: Tensor,
    row_loss: Tensor,
    labels: Tensor | None,
    ignore_index: int,
    n_cols: int,
    reduction: str,
) -> None:
    """Fill `y` with the sum of the rows' losses or with a mean, and `scale` with what each row
    counts in a mean.
    """
    with device_of(row_loss):
        _add_rows[(1,)](
            y,
            scale,
            row_loss,
            labels,
            ignore_index,
            row_loss.numel(),
            n_cols,
            BATCHMEAN=reduction == "batchmean",
            MEAN=reduction == "mean",
            BLOCK=_ROWS_AT_ONCE,
            num_warps=32,
        )


def outputs(x: Tensor, reduction: str, kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a forward returns, not filled yet: the loss; so many numbers of each row for the
    backward; what each row counts in a mean, empty where that is 1.
    """
    shape = x.shape[:-1]
    n_rows = math.prod(shape)  # a shape's own count of elements is one that is compiled for
    return (
        x.new_empty(shape if reduction == "none" else (), dtype=torch.float32),
        x.new_empty((kept, n_rows), dtype=torch.float32),
        x.new_empty(() if reduction in ("batchmean", "mean") else (0,), dtype=torch.float32),
    )


def gradients(
    input: Tensor, target: Tensor, needs: list[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Memory for the gradients that `needs` asks for."""
    dinput, dtarget = (
        torch.empty_like(t, memory_format=torch.contiguous_format) if needed else None
        for t, needed in zip((input, target), needs, strict=True)
    )
    return dinput, dtarget


def as_rows(x: Tensor) -> Tensor:
    """(batches, rows, columns) whose columns are dense: a view where that can be, as of a slice of
    a sequence's logits.
    """
    if x.stride(-1) != 1:
        x = x.contiguous()
    if x.ndim < 3 or x.is_contiguous():
        x = x.reshape(-1, x.shape[-1])
        # Of a single batch the stride says nothing, but Triton would compile for what divides it.
        return x.as_strided((1, *x.shape), (0, *x.stride()))
    return x.reshape(-1, *x.shape[-2:])


def lanes(tile: Tile, *rows: Tensor) -> tuple[int, int, int]:
    """What `columns` takes: the threads that share a row and its columns in a step.

    Where rows don't all begin at a multiple of 16 bytes, none can be loaded 16 bytes at once: then
    neighbours in a warp load neighbours, instead of one of every eight.
    """
    wide = min(_WIDE_LOAD, tile.block_cols) if all(map(_is_aligned, rows)) else 1
    threads = max(1, 32 * tile.num_warps // tile.block_rows)
    across = min(threads, tile.block_cols // wide)
    return tile.block_cols // (wide * across), across, wide


def _is_aligned(x: Tensor) -> bool:
    """Whether Triton sees that all rows begin at a multiple of 16 bytes, by what it is passed."""
    return x.data_ptr() % 16 == 0 and all(stride % 16 == 0 for stride in x.stride()[:-1])


def check_loss(
    op: str,
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    from_logits: bool,
    temperature: float,
    reduction: str,
) -> None:
    """Refuse what no loss between two distributions serves.

    Raises:
        TypeError: a dtype that is not served, or not the same of both.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    check(op, input=input, target=target)
    check_width(op, "input", input)
    check_shape(op, "target", target, input.shape)
    if labels is not None:
        if labels.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"{op}: labels is {labels.dtype}; served are int64 and int32")
        if labels.device != input.device:
            raise ValueError(f"{op}: labels is on {labels.device}, input on {input.device}")
        check_shape(op, "labels", labels, input.shape[:-1])
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: reduction is {reduction!r}, not one of {REDUCTIONS}")
    if not temperature > 0.0:
        raise ValueError(f"{op}: temperature is {temperature}; it must be positive")
    if temperature != 1.0 and not from_logits:
        raise ValueError(f"{op}: temperature is {temperature}; probabilities take none but 1")
