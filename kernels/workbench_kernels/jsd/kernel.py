"""jsd: a · KL(p‖m) + b · KL(q‖m) of each row, with m = a · p + b · q; or KL(p‖q) of each row

Forward, of logits P and Q, in the first read:
    p_max = maxⱼ P,  p_sum = Σⱼ exp((P − p_max) / T),  and so for Q
    KL    = Σⱼ p · ((P − p_max) − (Q − q_max)) / T + log(q_sum / p_sum)
in the second, or of log-probabilities the only one:
    gap      = log p − log q
    s        = 1 + b · (exp(−|gap|) − 1), with a for b where q is the larger
    log(p/m) = min(gap, 0) − log s,  log(q/m) = min(−gap, 0) − log s
    p_loss   = Σⱼ p · log(p/m),  q_loss = Σⱼ q · log(q/m)
    loss     = a · p_loss + b · q_loss;  or KL, which is Σⱼ p · gap
    y        = Σᵢ loss / (how many rows count [· how many columns])

Backward, with g = dy / T / (how many rows count [· how many columns]):
    dP = g · a · p · (log(p/m) − p_loss)    or, for KL,  g · p · (gap − KL)
    dQ = g · b · q · (log(q/m) − q_loss)    or, for KL,  g · (q − p)
of log-probabilities without p_loss and q_loss, and for KL  g · p · (gap + 1)  and  −g · p.

P, Q: float32, bfloat16 or float16; arithmetic and y in float32. A row that does not count has a
loss and gradients of 0 and is not read. Full-size transfers: forward reads 2 and writes 0, and what
the caches have lost of a row's logits once more, from its end to its start, unless it is for KL.
Backward reads 2 and writes 1 for each gradient.
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

# Far below every logit, so that the difference of two that are -inf is a number.
_LEAST = tl.constexpr(-1e30)


@triton.jit
def _at_least(x):
    return tl.maximum(x, _LEAST, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _log_of_half(ratio):
    """log2((1 + ratio) / 2) of a ratio in [0, 1], to 1e-7: Chebyshev's polynomial."""
    v = ratio - 1.0
    g = -0.007201549597084522 + v * -0.002503608586266637
    g = -0.007157262414693832 + v * (-0.011551318690180779 + v * g)
    g = 0.007809117436408997 + v * (-0.007975742220878601 + v * g)
    g = 0.06009636074304581 + v * (-0.022737761959433556 + v * g)
    return v * (0.7213475108146667 + v * (-0.18033738434314728 + v * g))


@triton.jit
def _over_mixture(gap, p_weight, q_weight, EVEN: tl.constexpr):
    """log2 of p/m and of q/m, by log2(p/q)."""
    ahead = gap > 0.0
    behind = -tl.abs(gap)
    ratio = tl.exp2(behind)
    if EVEN:
        log_s = _log_of_half(ratio)
    else:
        # The weights add up to 1, which rounded ones don't.
        log_s = numerics.log2(1.0 + tl.where(ahead, q_weight, p_weight) * (ratio - 1.0))
    return tl.where(ahead, 0.0, behind) - log_s, tl.where(ahead, behind, 0.0) - log_s


@jit(do_not_specialize=["ignore_index", "n_inner", "n_rows"])
def _jsd_fwd(
    ROW_LOSS,
    STATS,
    P,
    Q,
    LABELS,
    ignore_index,
    p_weight,
    q_weight,
    to_log2,
    p_outer,
    p_inner,
    q_outer,
    q_inner,
    n_inner,
    n_rows,
    n_cols,
    LOGITS: tl.constexpr,
    MIXED: tl.constexpr,
    EVEN: tl.constexpr,
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
    STATS += rows
    p_max = tl.zeros([BLOCK_ROWS], tl.float32)
    p_log = tl.zeros([BLOCK_ROWS], tl.float32)
    q_max = tl.zeros([BLOCK_ROWS], tl.float32)
    q_log = tl.zeros([BLOCK_ROWS], tl.float32)
    if LOGITS:
        p_max, p_scale, q_max, q_scale, shift, loss = softmaxes(
            P, Q, counted, to_log2, n_cols, end, not MIXED, BLOCK_ROWS, DEPTH, LANES, WIDE, STAGES
        )
        p_log, q_log = tl.log2(p_scale), tl.log2(q_scale)
        tl.store(STATS, p_max, mask=row_mask)
        tl.store(STATS + n_rows, p_scale, mask=row_mask)
        tl.store(STATS + 2 * n_rows, q_max, mask=row_mask)
        tl.store(STATS + 3 * n_rows, q_scale, mask=row_mask)
        tl.store(STATS + 4 * n_rows, shift, mask=row_mask)
    if MIXED or not LOGITS:
        P, Q = P[:, None, None, None], Q[:, None, None, None]
        p_total = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
        q_total = tl.zeros([BLOCK_ROWS, LANES], tl.float32)
        last = tl.cdiv(end, STEP) - 1
        for step in tl.range(0, last + 1, num_stages=STAGES):
            cols = (last - step) * STEP + columns(DEPTH, LANES, WIDE)
            mask = counted[:, None, None, None] & (cols < n_cols)
            x = tl.load(P + cols, mask=mask, other=float("-inf")).to(tl.float32)
            y = tl.load(Q + cols, mask=mask, other=float("-inf")).to(tl.float32)
            x -= p_max[:, None, None, None]
            y -= q_max[:, None, None, None]
            if MIXED:
                # As exact as need be: where p or q are off with their logarithms, the loss is not.
                log_p = _at_least(x) * to_log2 + p_log[:, None, None, None]
                log_q = _at_least(y) * to_log2 + q_log[:, None, None, None]
                p_over, q_over = _over_mixture(log_p - log_q, p_weight, q_weight, EVEN)
                p_total += in_lanes(tl.exp2(log_p) * p_over)
                q_total += in_lanes(tl.exp2(log_q) * q_over)
            else:
                p = tl.exp2(x * to_log2)
                p_total += in_lanes(tl.where(p == 0.0, 0.0, p * ((x - y) * to_log2)))
        loss = tl.sum(p_total, axis=1)
    if LOGITS:
        tl.store(STATS + 5 * n_rows, loss, mask=row_mask)
    if MIXED:
        q_loss = tl.sum(q_total, axis=1)
        if LOGITS:
            tl.store(STATS + 6 * n_rows, q_loss, mask=row_mask)
        loss = p_weight * loss + q_weight * q_loss
    tl.store(ROW_LOSS + rows, tl.where(counted, loss * LN_2, 0.0), mask=row_mask)


@jit(do_not_specialize=["ignore_index", "n_inner", "n_rows"])
def _jsd_bwd(
    DP,
    DQ,
    DY,
    SCALE,
    P,
    Q,
    LABELS,
    STATS,
    ignore_index,
    p_weight,
    q_weight,
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
    MIXED: tl.constexpr,
    EVEN: tl.constexpr,
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
    p_scale = tl.full([BLOCK_ROWS, 1], 1.0, tl.float32)
    q_scale = tl.full([BLOCK_ROWS, 1], 1.0, tl.float32)
    shift = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    p_loss = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    q_loss = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    if LOGITS:
        STATS += rows
        x -= tl.load(STATS, mask=counted, other=0.0)
        p_scale = tl.load(STATS + n_rows, mask=counted, other=0.0)
        y -= tl.load(STATS + 2 * n_rows, mask=counted, other=0.0)
        q_scale = tl.load(STATS + 3 * n_rows, mask=counted, other=0.0)
        shift = tl.load(STATS + 4 * n_rows, mask=counted, other=0.0)
        p_loss = tl.load(STATS + 5 * n_rows, mask=counted, other=0.0)
        if MIXED:
            q_loss = tl.load(STATS + 6 * n_rows, mask=counted, other=0.0)
    if MIXED:
        x, y = _at_least(x), _at_least(y)
    p, q = prob(x, p_scale, to_log2), prob(y, q_scale, to_log2)
    gap = (x - y) * to_log2 + shift
    if MIXED:
        p_over, q_over = _over_mixture(gap, p_weight, q_weight, EVEN)
        g = g * LN_2
        dp = p * ((g * p_weight) * (p_over - p_loss))
        dq = q * ((g * q_weight) * (q_over - q_loss))
    elif LOGITS:
        dp = tl.where(p == 0.0, 0.0, g * p * ((gap - p_loss) * LN_2))
        dq = g * (q - p)
    else:
        dp = tl.where(p == 0.0, 0.0, g * p * (gap * LN_2 + 1.0))
        dq = -g * p
    out = rows.to(tl.int64) * n_cols + cols
    if DP is not None:
        tl.store(DP + out, dp.to(DP.dtype.element_ty), mask=mask)
    if DQ is not None:
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
        131072: {"elements": 8192, "stages": 4},
    },
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 8}, {4096: {"elements": 4096, "per_thread": 16}}
)


def forward(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    beta: float,
    from_logits: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss; then what the backward needs: of each row of logits what makes probabilities of
    them, and the divergences; and what a row counts in a mean.
    """
    p, q = _ordered(as_rows(input), as_rows(target), beta)
    labels = None if labels is None else labels.contiguous()
    n_rows, n_cols = p.shape[:2].numel(), p.shape[2]
    y, stats, scale = outputs(input, reduction, _kept(beta, from_logits))
    row_loss = y if reduction == "none" else y.new_empty(n_rows)
    tile = part_tile(n_cols, FORWARD)
    depth, across, wide = lanes(tile, p, q)
    with device_of(input):
        _jsd_fwd[(cdiv(n_rows, tile.block_rows),)](
            row_loss,
            stats,
            p,
            q,
            labels,
            ignore_index,
            1.0 - beta,
            beta,
            LOG2_E / temperature,
            *p.stride()[:2],
            *q.stride()[:2],
            p.shape[1],
            n_rows,
            n_cols,
            LOGITS=from_logits,
            MIXED=0.0 < beta < 1.0,
            EVEN=beta == 0.5,
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
    beta: float,
    from_logits: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, in the order of the inputs."""
    grads = gradients(input, target, needs)
    p, q = _ordered(as_rows(input), as_rows(target), beta)
    dp, dq = _ordered(*grads, beta)
    n_rows, n_cols = p.shape[:2].numel(), p.shape[2]
    tile = part_tile(n_cols, BACKWARD)
    blocks = cdiv(n_rows, tile.block_rows) * cdiv(n_cols, tile.block_cols)
    with device_of(input):
        _jsd_bwd[(blocks,)](
            dp,
            dq,
            dy.contiguous(),
            scale if reduction in ("batchmean", "mean") else None,
            p,
            q,
            None if labels is None else labels.contiguous(),
            stats,
            ignore_index,
            1.0 - beta,
            beta,
            LOG2_E / temperature,
            1.0 / temperature,
            *p.stride()[:2],
            *q.stride()[:2],
            p.shape[1],
            n_rows,
            n_cols,
            LOGITS=from_logits,
            MIXED=0.0 < beta < 1.0,
            EVEN=beta == 0.5,
            PER_ROW=int(reduction == "none"),
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return [grad for grad in grads if grad is not None]


def _ordered(of_input: Any, of_target: Any, beta: float) -> tuple[Any, Any]:
    """What belongs to P, and to Q: with a beta of 0 it is the target's divergence from the input's,
    with one of 1 the other.
    """
    return (of_target, of_input) if beta == 0.0 else (of_input, of_target)


def _kept(beta: float, from_logits: bool) -> int:
    """Numbers of each row for the backward: of logits the maximum and scale of both, the shift of
    log2(p / q), and one divergence or two.
    """
    return (7 if 0.0 < beta < 1.0 else 6) if from_logits else 0


def _forward_fake(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    beta: float,
    from_logits: bool,
    temperature: float,
    ignore_index: int,
    reduction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return outputs(input, reduction, _kept(beta, from_logits))


def _backward_fake(
    dy: Tensor,
    input: Tensor,
    target: Tensor,
    labels: Tensor | None,
    stats: Tensor,
    scale: Tensor,
    beta: float,
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
    grads = jsd_backward(dy, *ctx.saved_tensors, *ctx.options, needs)
    return *op.spread(grads, needs), *(None,) * 6


jsd = op.define("jsd", forward, fake=_forward_fake)
jsd_backward = op.define("jsd_backward", backward, fake=_backward_fake)
op.autograd("jsd", save=_save, backward=_differentiate)
