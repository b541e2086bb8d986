"""tvd: half the sum of |p − q| of each row, the total variation between the two distributions

Forward, of logits P and Q, in the first read:
    p_max = maxⱼ P,  p_sum = Σⱼ exp((P − p_max) / T),  and so for Q
in the second, or of log-probabilities the only one:
    loss     = ½ · Σⱼ |p − q|
    p_ahead  = Σⱼ p · [p > q] + ½ · Σⱼ p · [p = q],  p_behind = 1 − p_ahead,  and so for q
    y        = Σᵢ loss / (how many rows count [· how many columns])

Backward, with g = dy / T / (how many rows count [· how many columns]):
    dP = g · p · (p_behind where p > q, −p_ahead where p < q, ½ · (p_behind − p_ahead) elsewhere)
    dQ = g · q · (−q_behind, q_ahead, ½ · (q_ahead − q_behind))
These are ½ · p · (sign − Σⱼ p · sign), without a difference of nearly equal numbers; p_behind is
summed up for that. Of log-probabilities p_ahead, p_behind, q_ahead and q_behind are ½.

P, Q: float32, bfloat16 or float16; arithmetic and y in float32. A row that does not count has a
loss and gradients of 0 and is not read. Full-size transfers: forward reads 2 and writes 0, and what
the caches have lost of a row's logits once more, from its end to its start. Backward reads 2 and
writes 1 for each gradient.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.divergence import (
    LOG2_E,
    add_rows,
    as_rows,
    columns,
    counted_rows,
    gradients,
    in_lanes,
    lanes,
    outputs,
    prob,
    row_offsets,
    softmaxes,
    upstream,
)
from workbench_kernels.jit import jit
from workbench_kernels.launch import cdiv, device_of, part_tile, stages
from workbench_kernels.tuning import ByWidth

_KEPT = 8  # of each row of logits: maximum and scale of both, p and q where p is ahead and behind


@triton.jit
def _by_sign(p, q, ahead, behind, tied):
    """What goes with a p that is more than q, less, or the same."""
    return tl.where(p > q, ahead, tl.where(p < q, behind, tied))


@jit(do_not_specialize=["ignore_index", "n_inner", "n_rows"])
def _tvd_fwd(
    ROW_LOSS,
    STATS,
    P,
    Q,
    LABELS,
    ignore_index,
    to_log2,
    p_outer,
    p_inner,
    q_outer,
    q_inner,
    n_inner,
    n_rows,
    n_cols,
    LOGITS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
):
    STEP: tl.constexpr = DEPTH * LANES * WIDE
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < n_rows
    counted = counted_rows(rows, n_rows, LABELS, ignore_index)
    end = n_cols * tl.max(counted.to(tl.int32), axis=0)
    P += row_offsets(rows, n_inner, p_outer, p_inner)
    Q += row_offsets(rows, n_inner, q_outer, q_inner)
    if LOGITS:
        p_max, p_scale, q_max, q_scale, _shift, _divergence = softmaxes(
            P, Q, counted, to_log2, n_cols, end, False, BLOCK_ROWS, DEPTH, LANES, WIDE, STAGES
        )
    P, Q = P[:, None, None, None], Q[:, None, None, None]
    total = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    p_ahead = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    p_behind = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    q_ahead = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    q_behind = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
    last = tl.cdiv(end, STEP) - 1
    for step in tl.range(0, last + 1, num_stages=STAGES):
        cols = (last - step) * STEP + columns(DEPTH, LANES, WIDE)
        mask = counted[:, None, None, None] & (cols < n_cols)
        x = tl.load(P + cols, mask=mask, other=float("-inf")).to(tl.float32)
        y = tl.load(Q + cols, mask=mask, other=float("-inf")).to(tl.float32)
        if LOGITS:
            p = prob(x - p_max[:, None, None, None], p_scale[:, None, None, None], to_log2)
            q = prob(y - q_max[:, None, None, None], q_scale[:, None, None, None], to_log2)
        else:
            p, q = tl.exp(x), tl.exp(y)
        # Of equal ones as they were compared: a GPU subtracts from a product before it is rounded.
        total += in_lanes(tl.where(p == q, 0.0, tl.abs(p - q)))
        if LOGITS:
            ahead = _by_sign(p, q, 1.0, 0.0, 0.5)
            behind = 1.0 - ahead
            p_ahead += in_lanes(p * ahead)
            p_behind += in_lanes(p * behind)
            q_ahead += in_lanes(q * ahead)
            q_behind += in_lanes(q * behind)
    if LOGITS:
        STATS += rows
        tl.store(STATS, p_max, mask=row_mask)
        tl.store(STATS + n_rows, p_scale, mask=row_mask)
        tl.store(STATS + 2 * n_rows, q_max, mask=row_mask)
        tl.store(STATS + 3 * n_rows, q_scale, mask=row_mask)
        tl.store(STATS + 4 * n_rows, tl.sum(p_ahead, axis=1), mask=row_mask)
        tl.store(STATS + 5 * n_rows, tl.sum(p_behind, axis=1), mask=row_mask)
        tl.store(STATS + 6 * n_rows, tl.sum(q_ahead, axis=1), mask=row_mask)
        tl.store(STATS + 7 * n_rows, tl.sum(q_behind, axis=1), mask=row_mask)
    distance = tl.sum(total, axis=1)
    tl.store(ROW_LOSS + rows, tl.where(counted, 0.5 * distance, 0.0), mask=row_mask)


@jit(do_not_specialize=["ignore_index", "n_inner", "n_rows"])
def _tvd_bwd(
    DP,
    DQ,
    DY,
    SCALE,
    P,
    Q,
    LABELS,
    STATS,
    ignore_index,
    to_log2,
    per_unit,
    p_outer,
    p_inner,
    q_outer,
    q_inner,
    n_inner,
    n_rows,
    n_cols,
    LOGITS: tl.constexpr,
    PER_ROW: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    blocks = tl.cdiv(n_cols, BLOCK_COLS)
    rows = tl.program_id(0) // blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    cols = tl.program_id(0) % blocks * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    counted = counted_rows(rows, n_rows, LABELS, ignore_index)
    used = counted & (cols < n_cols)
    mask = (rows < n_rows) & (cols < n_cols)
    g = upstream(DY, SCALE, rows, counted, PER_ROW) * per_unit
    P += row_offsets(rows, n_inner, p_outer, p_inner)
    Q += row_offsets(rows, n_inner, q_outer, q_inner)
    x = tl.load(P + cols, mask=used, other=0.0).to(tl.float32)
    y = tl.load(Q + cols, mask=used, other=0.0).to(tl.float32)
    if LOGITS:
        STATS += rows
        x -= tl.load(STATS, mask=counted, other=0.0)
        p = prob(x, tl.load(STATS + n_rows, mask=counted, other=0.0), to_log2)
        y -= tl.load(STATS + 2 * n_rows, mask=counted, other=0.0)
        q = prob(y, tl.load(STATS + 3 * n_rows, mask=counted, other=0.0), to_log2)
        p_ahead = tl.load(STATS + 4 * n_rows, mask=counted, other=0.0)
        p_behind = tl.load(STATS + 5 * n_rows, mask=counted, other=0.0)
        q_ahead = tl.load(STATS + 6 * n_rows, mask=counted, other=0.0)
        q_behind = tl.load(STATS + 7 * n_rows, mask=counted, other=0.0)
    else:
        p, q = tl.exp(x), tl.exp(y)
        p_ahead = tl.full([BLOCK_ROWS, 1], 0.5, tl.float32)
        p_behind = p_ahead
        q_ahead = p_ahead
        q_behind = p_ahead
    out = rows.to(tl.int64) * n_cols + cols
    if DP is not None:
        dp = g * p * _by_sign(p, q, p_behind, -p_ahead, 0.5 * (p_behind - p_ahead))
        tl.store(DP + out, dp.to(DP.dtype.element_ty), mask=mask)
    if DQ is not None:
        dq = g * q * _by_sign(p, q, -q_behind, q_ahead, 0.5 * (q_ahead - q_behind))
        tl.store(DQ + out, dq.to(DQ.dtype.element_ty), mask=mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row of
# more elements than a program holds is read in blocks: in steps by the forward, by several programs
# of the backward. The forward's are large, so that few rows are under way and most of them are in
# the L2 cache when they are read again: two to a multiprocessor, of the widest rows one.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 8, "stages": 1},
    {
        4096: {"elements": 4096},
        65536: {"per_thread": 16},
        131072: {"elements": 8192, "stages": 3},
    },
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 8},
    {
        4096: {"elements": 4096, "per_thread": 16},
        65536: {"elements": 1024},
        131072: {"elements": 4096},
    },
)


def forward(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    from_logits: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss; then what the backward needs: of each row of logits what makes probabilities of
    them, and how much of them is ahead and behind; and what a row counts in a mean.
    """
    p, q = as_rows(input), as_rows(target)
    labels = None if labels is None else labels.contiguous()
    n_rows, n_cols = p.shape[:2].numel(), p.shape[2]
    y, stats, scale = outputs(input, reduction, _KEPT if from_logits else 0)
    row_loss = y if reduction == "none" else y.new_empty(n_rows)
    tile = part_tile(n_cols, FORWARD)
    depth, across, wide = lanes(tile, p, q)
    with device_of(input):
        _tvd_fwd[(cdiv(n_rows, tile.block_rows),)](
            row_loss,
            stats,
            p,
            q,
            labels,
            ignore_index,
            LOG2_E / temperature,
            *p.stride()[:2],
            *q.stride()[:2],
            p.shape[1],
            n_rows,
            n_cols,
            LOGITS=from_logits,
            BLOCK_ROWS=tile.block_rows,
            DEPTH=depth,
            LANES=across,
            WIDE=wide,
            STAGES=stages(tile, 2, input.dtype),
            num_warps=tile.num_warps,
        )
    if reduction != "none":
        add_rows(y, scale, row_loss, labels, ignore_index, n_cols, reduction)
    return y, stats, scale


def backward(
    dy: Tensor,
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    stats: Tensor,
    scale: Tensor,
    from_logits: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, in the order of the inputs."""
    grads = gradients(input, target, needs)
    p, q = as_rows(input), as_rows(target)
    n_rows, n_cols = p.shape[:2].numel(), p.shape[2]
    tile = part_tile(n_cols, BACKWARD)
    blocks = cdiv(n_rows, tile.block_rows) * cdiv(n_cols, tile.block_cols)
    with device_of(input):
        _tvd_bwd[(blocks,)](
            grads[0],
            grads[1],
            dy.contiguous(),
            scale if reduction in ("batchmean", "mean") else None,
            p,
            q,
            None if labels is None else labels.contiguous(),
            stats,
            ignore_index,
            LOG2_E / temperature,
            1.0 / temperature,
            *p.stride()[:2],
            *q.stride()[:2],
            p.shape[1],
            n_rows,
            n_cols,
            LOGITS=from_logits,
            PER_ROW=int(reduction == "none"),
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return [grad for grad in grads if grad is not None]


def _forward_fake(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    from_logits: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return outputs(input, reduction, _KEPT if from_logits else 0)


def _backward_fake(
    dy: Tensor,
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    stats: Tensor,
    scale: Tensor,
    from_logits: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
    needs: list[bool],
) -> list[Tensor]:
    return [grad for grad in gradients(input, target, needs) if grad is not None]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    input, target, labels, *ctx.options = inputs
    _y, stats, scale = output
    ctx.save_for_backward(input, target, labels, stats, scale)
    ctx.mark_non_differentiable(stats, scale)
    ctx.set_materialize_grads(False)  # else a launch makes zeros for each of them


def _differentiate(ctx: Any, dy: Tensor, _dstats: None, _dscale: None) -> Any:
    needs = list(ctx.needs_input_grad[:2])
    grads = tvd_backward(dy, *ctx.saved_tensors, *ctx.options, needs)
    return *op.spread(grads, needs), *(None,) * 5


tvd = op.define("tvd", forward, fake=_forward_fake)
tvd_backward = op.define("tvd_backward", backward, fake=_backward_fake)
op.autograd("tvd", save=_save, backward=_differentiate)
