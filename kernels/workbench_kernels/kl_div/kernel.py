"""kl_div: KL(p‖q) of each row, with p the target's distribution and q the input's, or the reverse

Forward, of logits:
    p_max = maxⱼ P,  p_sum = Σⱼ exp((P − p_max) / T),  and so for Q
    loss  = Σⱼ p · ((P − p_max) − (Q − q_max)) / T + log(q_sum / p_sum)
of log-probabilities, or of a probability p or q:
    loss  = Σⱼ p · (log p − log q)
    y     = Σᵢ loss / (how many rows count [· how many columns])

Backward, with g = dy / (how many rows count [· how many columns]):
    of logits               dP = g / T · p · (log p − log q − loss)    dQ = g / T · (q − p)
    of log-probabilities    dP = g · p · (log p − log q + 1)           dQ = −g · p
    of probabilities        dp = g · (log p − log q + 1)               dq = −g · p / q

P, Q: float32, bfloat16 or float16; arithmetic and y in float32. What p rules out adds nothing,
whatever q is there. A row that does not count has a loss and gradients of 0 and is not read.
Full-size transfers: forward reads 2 and writes 0: the maxima, sums and Σⱼ are had in one read.
Backward for Q reads 1 (2 of logits) and writes 1, for P it reads 2 and writes 1.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op
from workbench_kernels.divergence import (
    LN_2,
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

_KEPT = 5  # of each row of logits: maximum and scale of both, and what log2(p / q) is shifted by


@triton.jit
def _as_log2(x, to_log2, PROBS: tl.constexpr):
    """A probability and log2 of it, from either or from its natural logarithm."""
    if PROBS:
        p, log_p = x, tl.log2(x)
    else:
        log_p = x * to_log2
        p = tl.exp2(log_p)
    return p, log_p


@jit(do_not_specialize=["ignore_index", "n_inner", "n_rows"])
def _kl_div_fwd(
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
    P_PROBS: tl.constexpr,
    Q_PROBS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < n_rows
    counted = counted_rows(rows, n_rows, LABELS, ignore_index)
    end = n_cols * tl.max(counted.to(tl.int32), axis=0)
    P += row_offsets(rows, n_inner, p_outer, p_inner)
    Q += row_offsets(rows, n_inner, q_outer, q_inner)
    if LOGITS:
        p_max, p_scale, q_max, q_scale, shift, loss = softmaxes(
            P, Q, counted, to_log2, n_cols, end, True, BLOCK_ROWS, DEPTH, LANES, WIDE, STAGES
        )
        STATS += rows
        tl.store(STATS, p_max, mask=row_mask)
        tl.store(STATS + n_rows, p_scale, mask=row_mask)
        tl.store(STATS + 2 * n_rows, q_max, mask=row_mask)
        tl.store(STATS + 3 * n_rows, q_scale, mask=row_mask)
        tl.store(STATS + 4 * n_rows, shift - loss, mask=row_mask)
    else:
        P, Q = P[:, None, None, None], Q[:, None, None, None]
        total = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
        for start in tl.range(0, end, DEPTH * LANES * WIDE, num_stages=STAGES):
            cols = start + columns(DEPTH, LANES, WIDE)
            mask = counted[:, None, None, None] & (cols < n_cols)
            nothing: tl.constexpr = 0.0 if P_PROBS else float("-inf")
            x = tl.load(P + cols, mask=mask, other=nothing).to(tl.float32)
            y = tl.load(Q + cols, mask=mask, other=1.0).to(tl.float32)
            _q, log_q = _as_log2(y, to_log2, Q_PROBS)
            if P_PROBS:
                term = x * (numerics.log2(x) - log_q)
                term = tl.where(x > 0.0, term, tl.where(x == 0.0, 0.0, float("nan")))
            else:
                p, log_p = _as_log2(x, to_log2, False)
                term = tl.where(p == 0.0, 0.0, p * (log_p - log_q))
            total += in_lanes(term)
        loss = tl.sum(total, axis=1)
    tl.store(ROW_LOSS + rows, tl.where(counted, loss * LN_2, 0.0), mask=row_mask)


@jit(do_not_specialize=["ignore_index", "n_inner", "n_rows"])
def _kl_div_bwd(
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
    P_PROBS: tl.constexpr,
    Q_PROBS: tl.constexpr,
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
    out = rows.to(tl.int64) * n_cols + cols
    P += row_offsets(rows, n_inner, p_outer, p_inner)
    Q += row_offsets(rows, n_inner, q_outer, q_inner)
    x = tl.load(P + cols, mask=used, other=1.0).to(tl.float32)
    y = tl.load(Q + cols, mask=used, other=1.0).to(tl.float32)
    if LOGITS:
        STATS += rows
        x -= tl.load(STATS, mask=counted, other=0.0)
        p = prob(x, tl.load(STATS + n_rows, mask=counted, other=0.0), to_log2)
        y -= tl.load(STATS + 2 * n_rows, mask=counted, other=0.0)
        q = prob(y, tl.load(STATS + 3 * n_rows, mask=counted, other=0.0), to_log2)
        shift = tl.load(STATS + 4 * n_rows, mask=counted, other=0.0)
        dq = g * (q - p)
        dp = tl.where(p == 0.0, 0.0, g * p * (((x - y) * to_log2 + shift) * LN_2))
    else:
        p, log_p = _as_log2(x, to_log2, P_PROBS)
        q, log_q = _as_log2(y, to_log2, Q_PROBS)
        dq = -g * p
        if Q_PROBS:
            dq = numerics.divide(dq, q)
        dp = g * ((log_p - log_q) * LN_2 + 1.0)
        if not P_PROBS:
            dp = tl.where(p == 0.0, 0.0, dp * p)
    if DP is not None:
        tl.store(DP + out, dp.to(DP.dtype.element_ty), mask=mask)
    if DQ is not None:
        tl.store(DQ + out, dq.to(DQ.dtype.element_ty), mask=mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row of
# more elements than a program holds is read in blocks: in steps by the forward, by several programs
# of the backward.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 8, "stages": 1},
    {
        4096: {"elements": 8192},
        65536: {"elements": 2048, "per_thread": 32},
        131072: {"elements": 8192, "per_thread": 8},
    },
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 8}, {4096: {"elements": 4096, "per_thread": 16}}
)


def forward(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    log_target: bool,
    from_logits: bool,
    reverse: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss; then what the backward needs: of each row of logits what makes probabilities of
    them, and what a row counts in a mean.
    """
    p, q = _ordered(as_rows(input), as_rows(target), reverse)
    labels = None if labels is None else labels.contiguous()
    n_rows, n_cols = p.shape[:2].numel(), p.shape[2]
    y, stats, scale = outputs(input, reduction, _KEPT if from_logits else 0)
    row_loss = y if reduction == "none" else y.new_empty(n_rows)
    tile = part_tile(n_cols, FORWARD)
    depth, across, wide = lanes(tile, p, q)
    with device_of(input):
        _kl_div_fwd[(cdiv(n_rows, tile.block_rows),)](
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
            **_probabilities(log_target, from_logits, reverse),
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
    log_target: bool,
    from_logits: bool,
    reverse: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, in the order of the inputs."""
    grads = gradients(input, target, needs)
    p, q = _ordered(as_rows(input), as_rows(target), reverse)
    dp, dq = _ordered(*grads, reverse)
    n_rows, n_cols = p.shape[:2].numel(), p.shape[2]
    tile = part_tile(n_cols, BACKWARD)
    blocks = cdiv(n_rows, tile.block_rows) * cdiv(n_cols, tile.block_cols)
    with device_of(input):
        _kl_div_bwd[(blocks,)](
            dp,
            dq,
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
            **_probabilities(log_target, from_logits, reverse),
            PER_ROW=int(reduction == "none"),
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return [grad for grad in grads if grad is not None]


def _ordered(of_input: Any, of_target: Any, reverse: bool) -> tuple[Any, Any]:
    """What belongs to p, and to q."""
    return (of_input, of_target) if reverse else (of_target, of_input)


def _probabilities(log_target: bool, from_logits: bool, reverse: bool) -> dict[str, bool]:
    """Which of p and q is given as it is."""
    given = not (log_target or from_logits)
    return {"P_PROBS": given and not reverse, "Q_PROBS": given and reverse}


def _forward_fake(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    log_target: bool,
    from_logits: bool,
    reverse: bool,
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
    log_target: bool,
    from_logits: bool,
    reverse: bool,
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
    grads = kl_div_backward(dy, *ctx.saved_tensors, *ctx.options, needs)
    return *op.spread(grads, needs), *(None,) * 7


kl_div = op.define("kl_div", forward, fake=_forward_fake)
kl_div_backward = op.define("kl_div_backward", backward, fake=_backward_fake)
op.autograd("kl_div", save=_save, backward=_differentiate)
