"""cross_entropy: y = mean(loss) over the targets t that are kept, weighted by the classes' weights

Forward:
    u        = softcap · tanh(logit_scale · x / softcap) / temperature
    row_max  = maxⱼ u
    log_sum  = log Σⱼ exp(u − row_max)
    lse      = row_max + log_sum
    log_prob = u[t] − lse
    loss     = −(1 − ε) · weight[t] · log_prob + ε / C · Σⱼ weightⱼ · (lse − uⱼ)
               + z_loss · weight[t] · lse²
    y        = Σᵢ loss / Σᵢ weight[t]
    entropy  = log_sum − Σⱼ pⱼ · (uⱼ − row_max), with p = exp(u − row_max − log_sum)

Backward, with g = dy · (1 / Σᵢ weight[t]):
    slope = g · (weight[t] · (1 − ε + 2 · z_loss · lse) + ε / C · Σⱼ weightⱼ) − dlog_prob
    step  = g · weight[t] · (1 − ε) − dlog_prob
    du    = p · slope − step · [j = t] − g · ε / C · weightⱼ − dentropy · p · (log p + entropy)
    dx    = du · logit_scale · (1 − tanh²) / temperature

ε is the label smoothing and C the number of classes. x: float32, bfloat16 or float16; arithmetic
and every output in float32. A row whose target is ignored has loss, log_prob and du of 0, and is
not read unless its entropy or argmax is asked for; one whose target is no class has NaN.
Full-size transfers: forward reads 1 and writes 0, backward reads 1 and writes 1.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op
from workbench_kernels.jit import jit
from workbench_kernels.launch import Tile, cdiv, device_of, part_tile, stages
from workbench_kernels.logits import depth
from workbench_kernels.tuning import ByWidth, Table

# Below every finite number; not -inf, of which a difference would be NaN.
_LOWEST = tl.constexpr(-3.4028234663852886e38)
_NO_COLUMN = tl.constexpr(2**31 - 1)
_ROWS_AT_ONCE = 8192  # of the one program that adds up all rows


@triton.jit
def _exp(x):
    """exp(x), 0 where that is less than float32's normal numbers: four instructions, tl.exp is
    seven.
    """
    return tl.exp2(x * 1.4426950408889634)


@triton.jit
def _squashed(x, inner, outer, CAPPED: tl.constexpr, SCALED: tl.constexpr):
    """What the softmax is of: the logits as they are, times `inner`, or outer · tanh(inner · x)."""
    if CAPPED:
        return outer * numerics.tanh(inner * x)
    if SCALED:
        return inner * x
    return x


@jit(do_not_specialize=["ignore_index", "n_rows"])
def _cross_entropy_fwd(
    ROW_LOSS,
    LOG_PROB,
    ENTROPY,
    ARGMAX,
    ROW_MAX,
    LOG_SUM,
    WEIGHT_SUM,
    X,
    TARGET,
    WEIGHT,
    ignore_index,
    label_smoothing,
    share,
    z_loss,
    inner,
    outer,
    stride,
    n_rows,
    n_cols,
    EVERY_ROW: tl.constexpr,
    SMOOTHED: tl.constexpr,
    WITH_Z: tl.constexpr,
    CAPPED: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    STAGES: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < n_rows
    target = tl.load(TARGET + rows, mask=row_mask, other=0)
    kept = row_mask & (target != ignore_index)
    in_range = kept & (target >= 0) & (target < n_cols)
    end = n_cols
    if not EVERY_ROW:
        needed = tl.max(kept.to(tl.int32), axis=0)
        if WEIGHT_SUM is not None:
            needed = tl.where(tl.program_id(0) == 0, 1, needed)  # it tells the others the sum
        end = n_cols * needed
    X += rows.to(tl.int64) * stride
    first = X[:, None, None]
    within = tl.arange(0, DEPTH)[None, :, None] * BLOCK_COLS
    lanes = tl.arange(0, BLOCK_COLS)[None, None, :]
    # Each lane has a maximum and sums of its own, so that no step waits for another thread.
    peak = tl.full([BLOCK_ROWS, BLOCK_COLS], _LOWEST, tl.float32)
    total = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    spread = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    weighted = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    weights = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    place = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.int32)
    for start in tl.range(0, end, DEPTH * BLOCK_COLS, num_stages=STAGES):
        cols = start + within + lanes
        col_mask = cols < n_cols
        mask = row_mask[:, None, None] & col_mask
        x = tl.load(first + cols, mask=mask, other=float("-inf")).to(tl.float32)
        u = _squashed(x, inner, outer, CAPPED, SCALED)
        if CAPPED or SCALED:
            u = tl.where(mask, u, float("-inf"))
        if ARGMAX is not None:
            ranked = tl.where(u != u, float("inf"), u)
            highest = tl.max(ranked, axis=1)
            ties = tl.where(ranked == highest[:, None, :], cols, _NO_COLUMN)
            place = tl.where(highest > peak, tl.min(ties, axis=1), place)
        else:
            highest = tl.max(u, axis=1)
        higher = tl.maximum(peak, highest)
        shifted = u - higher[:, None, :]
        e = _exp(shifted)
        rescale = _exp(peak - higher)
        if ENTROPY is not None:
            spread = rescale * (spread + total * (peak - higher))
            spread += tl.sum(tl.where(e == 0.0, 0.0, e * shifted), axis=1)
        total = total * rescale + tl.sum(e, axis=1)
        peak = higher
        if SMOOTHED:
            counted = tl.where(mask, u, 0.0)
            if WEIGHT is not None:
                w = tl.load(WEIGHT + cols, mask=col_mask, other=0.0).to(tl.float32)
                counted = counted * w
                weights += tl.sum(w, axis=1)
            weighted += tl.sum(counted, axis=1)
    row_max = tl.max(peak, axis=1)
    lower = peak - row_max[:, None]
    rescale = _exp(lower)
    row_sum = tl.sum(total * rescale, axis=1)
    log_sum = tl.log(row_sum)
    lse = row_max + log_sum
    chosen = tl.load(X + target, mask=in_range, other=float("nan")).to(tl.float32)
    chosen = _squashed(chosen, inner, outer, CAPPED, SCALED)
    nll = log_sum + (row_max - chosen)
    loss = nll
    weight = 1.0
    if WEIGHT is not None:
        weight = tl.load(WEIGHT + target, mask=in_range, other=0.0).to(tl.float32)
        loss = nll * weight
    if SMOOTHED:
        uniform = lse * n_cols
        if WEIGHT is not None:
            weight_sum = tl.sum(weights, axis=1)
            uniform = lse * weight_sum
            tl.store(WEIGHT_SUM + rows, weight_sum, mask=rows == 0)
        uniform -= tl.sum(weighted, axis=1)
        loss = loss * (1.0 - label_smoothing) + share * uniform
    if WITH_Z:
        loss += z_loss * weight * lse * lse
    tl.store(ROW_LOSS + rows, tl.where(kept, loss, 0.0), mask=row_mask)
    tl.store(ROW_MAX + rows, row_max, mask=row_mask)
    tl.store(LOG_SUM + rows, log_sum, mask=row_mask)
    if LOG_PROB is not None:
        tl.store(LOG_PROB + rows, tl.where(kept, -nll, 0.0), mask=row_mask)
    if ENTROPY is not None:
        row_spread = tl.sum(rescale * (spread + total * lower), axis=1)
        tl.store(ENTROPY + rows, log_sum - numerics.divide(row_spread, row_sum), mask=row_mask)
    if ARGMAX is not None:
        best = tl.min(tl.where(peak == row_max[:, None], place, _NO_COLUMN), axis=1)
        tl.store(ARGMAX + rows, best.to(tl.int64), mask=row_mask)


@jit(do_not_specialize=["ignore_index", "n_rows"])
def _cross_entropy_mean(
    Y,
    ACCURACY,
    SCALE,
    ROW_LOSS,
    ARGMAX,
    TARGET,
    WEIGHT,
    ignore_index,
    n_rows,
    n_cols,
    MEAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    loss = tl.zeros([BLOCK], tl.float32)
    weights = tl.zeros([BLOCK], tl.float32)
    count = tl.zeros([BLOCK], tl.float32)
    right = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        mask = rows < n_rows
        target = tl.load(TARGET + rows, mask=mask, other=0)
        kept = mask & (target != ignore_index)
        if Y is not None:
            loss += tl.load(ROW_LOSS + rows, mask=mask, other=0.0)
            if WEIGHT is None:
                weights += tl.where(kept, 1.0, 0.0)
            else:
                in_range = kept & (target >= 0) & (target < n_cols)
                weights += tl.load(WEIGHT + target, mask=in_range, other=0.0).to(tl.float32)
        if ACCURACY is not None:
            count += tl.where(kept, 1.0, 0.0)
            argmax = tl.load(ARGMAX + rows, mask=kept, other=-1)
            right += tl.where(kept & (argmax == target), 1.0, 0.0)
    if Y is not None:
        y = tl.sum(loss, axis=0)
        if MEAN:
            divisor = tl.sum(weights, axis=0)
            y = numerics.divide(y, divisor)
            # A division less in each of the backward's programs.
            tl.store(SCALE, numerics.divide(1.0, divisor))
        tl.store(Y, y)
    if ACCURACY is not None:
        tl.store(ACCURACY, numerics.divide(tl.sum(right, axis=0), tl.sum(count, axis=0)))


@jit(do_not_specialize=["ignore_index", "n_rows"])
def _cross_entropy_bwd(
    DX,
    DY,
    DLOG_PROB,
    DENTROPY,
    X,
    TARGET,
    WEIGHT,
    ROW_MAX,
    LOG_SUM,
    ENTROPY,
    SCALE,
    WEIGHT_SUM,
    ignore_index,
    label_smoothing,
    share,
    z_loss,
    inner,
    outer,
    stride,
    n_rows,
    n_cols,
    MEAN: tl.constexpr,
    PER_ROW: tl.constexpr,
    SMOOTHED: tl.constexpr,
    WITH_Z: tl.constexpr,
    CAPPED: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    blocks = tl.cdiv(n_cols, BLOCK_COLS)
    rows = tl.program_id(0) // blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    cols = tl.program_id(0) % blocks * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    row_mask = rows < n_rows
    col_mask = cols < n_cols
    target = tl.load(TARGET + rows, mask=row_mask, other=0)
    kept = row_mask & (target != ignore_index)
    used = kept
    if DENTROPY is not None:
        used = row_mask
    x = tl.load(X + rows.to(tl.int64) * stride + cols, mask=used & col_mask, other=0.0)
    row_max = tl.load(ROW_MAX + rows, mask=used, other=0.0)
    log_sum = tl.load(LOG_SUM + rows, mask=used, other=0.0)
    in_range = kept & (target >= 0) & (target < n_cols)
    hit = tl.where(in_range, target, -1).to(tl.int32)
    weight = tl.where(in_range, 1.0, float("nan"))
    if WEIGHT is not None:
        weight = tl.load(WEIGHT + target, mask=in_range, other=float("nan")).to(tl.float32)
    slope = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    step = tl.zeros([BLOCK_ROWS, 1], tl.float32)
    if DY is not None:
        dy = tl.load(DY + rows * PER_ROW, mask=kept, other=0.0)
        if MEAN:
            dy = tl.where(kept, dy * tl.load(SCALE), 0.0)
        step = dy * weight
        if SMOOTHED:
            step = step * (1.0 - label_smoothing)
        slope = step
        if WITH_Z:
            slope += 2.0 * z_loss * (dy * weight) * (row_max + log_sum)
        if SMOOTHED:
            pull = dy * share
            if WEIGHT is None:
                slope += dy * label_smoothing
            else:
                slope += pull * tl.load(WEIGHT_SUM)
                pull = pull * tl.load(WEIGHT + cols, mask=col_mask, other=0.0).to(tl.float32)
    if DLOG_PROB is not None:
        dlog_prob = tl.load(DLOG_PROB + rows, mask=kept, other=0.0)
        dlog_prob = tl.where(in_range, dlog_prob, float("nan"))
        slope -= dlog_prob
        step -= dlog_prob
    # Not by the columns: what is decided there is decided for every element.
    slope = tl.where(kept, slope, 0.0)
    x = x.to(tl.float32)
    u = _squashed(x, inner, outer, CAPPED, SCALED)
    log_p = u - row_max - log_sum
    p = _exp(log_p)
    du = p * slope - tl.where(cols == hit, step, 0.0)
    if DY is not None and SMOOTHED:
        du -= pull
    if DENTROPY is not None:
        dentropy = tl.load(DENTROPY + rows, mask=row_mask, other=0.0)
        entropy = tl.load(ENTROPY + rows, mask=row_mask, other=0.0)
        du -= tl.where(p == 0.0, 0.0, dentropy * p * (log_p + entropy))
    if CAPPED:
        t = numerics.tanh(inner * x)
        du = du * (inner * outer) * (1.0 - t * t)
    elif SCALED:
        du = du * inner
    out = DX + rows.to(tl.int64) * n_cols + cols
    tl.store(out, du.to(DX.dtype.element_ty), mask=row_mask & col_mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row of
# more elements than a program holds is read in blocks: in steps by the forward, by several programs
# of the backward.
FORWARD = ByWidth(
    {"elements": 1024, "per_thread": 8, "stages": 1}, {4096: {"elements": 8192, "per_thread": 64}}
)
BACKWARD = ByWidth(
    {"elements": 1024, "per_thread": 8}, {4096: {"elements": 8192, "per_thread": 32}}
)


def forward(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
    inplace: bool,
    asked: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss; log_prob, entropy, argmax and accuracy, empty unless `asked`; then what the
    backward needs: row_max and log_sum of each row; 1 over the sum of the weights of the rows, and
    the sum of those of the classes, empty where they don't count.

    The softmax is of inner · x, or of outer · tanh(inner · x) unless `outer` is 0. `inplace` is for
    the backward.
    """
    rows, target = _rows(x), target.contiguous()
    weight = None if weight is None else weight.contiguous()
    n_rows, n_cols = rows.shape
    weighted = weight is not None and label_smoothing != 0.0
    outputs = _outputs(x, reduction, asked, weighted)
    y, log_prob, entropy, argmax, accuracy, row_max, log_sum, scale, weight_sum = outputs
    row_loss = y if reduction == "none" else torch.empty_like(row_max)
    ranked = argmax if asked[2] else x.new_empty(n_rows if asked[3] else 0, dtype=torch.int64)
    tile, deep = _steps(n_cols, FORWARD)
    with device_of(x):
        _cross_entropy_fwd[(cdiv(n_rows, tile.block_rows),)](
            row_loss,
            log_prob if asked[0] else None,
            entropy if asked[1] else None,
            ranked if asked[2] or asked[3] else None,
            row_max,
            log_sum,
            weight_sum if weighted else None,
            rows,
            target,
            weight,
            ignore_index,
            label_smoothing,
            label_smoothing / n_cols,
            z_loss,
            inner,
            outer,
            rows.stride(0),
            n_rows,
            n_cols,
            EVERY_ROW=asked[1] or asked[2],
            SMOOTHED=label_smoothing != 0.0,
            WITH_Z=z_loss != 0.0,
            CAPPED=outer != 0.0,
            SCALED=inner != 1.0,
            BLOCK_ROWS=tile.block_rows,
            DEPTH=deep,
            BLOCK_COLS=tile.block_cols // deep,
            STAGES=stages(tile, 1, x.dtype),
            num_warps=tile.num_warps,
        )
        if reduction != "none" or asked[3]:
            _cross_entropy_mean[(1,)](
                None if reduction == "none" else y,
                accuracy if asked[3] else None,
                scale,
                row_loss,
                ranked,
                target,
                weight,
                ignore_index,
                n_rows,
                n_cols,
                MEAN=reduction == "mean",
                BLOCK=_ROWS_AT_ONCE,
                num_warps=32,
            )
    return outputs


def backward(
    dy: Tensor | None,
    dlog_prob: Tensor | None,
    dentropy: Tensor | None,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    entropy: Tensor,
    row_max: Tensor,
    log_sum: Tensor,
    scale: Tensor,
    weight_sum: Tensor,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
) -> Tensor:
    """The gradient of the logits, as far as dy, dlog_prob and dentropy are given."""
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    _launch_bwd(
        dx,
        dy,
        dlog_prob,
        dentropy,
        x,
        target,
        weight,
        entropy,
        row_max,
        log_sum,
        scale,
        weight_sum,
        ignore_index,
        reduction,
        label_smoothing,
        z_loss,
        inner,
        outer,
    )
    return dx


def backward_inplace(
    dy: Tensor | None,
    dlog_prob: Tensor | None,
    dentropy: Tensor | None,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    entropy: Tensor,
    row_max: Tensor,
    log_sum: Tensor,
    scale: Tensor,
    weight_sum: Tensor,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
) -> None:
    """The gradient of the logits, in their memory; they must be contiguous."""
    _launch_bwd(
        x,
        dy,
        dlog_prob,
        dentropy,
        x,
        target,
        weight,
        entropy,
        row_max,
        log_sum,
        scale,
        weight_sum,
        ignore_index,
        reduction,
        label_smoothing,
        z_loss,
        inner,
        outer,
    )


def _launch_bwd(
    dx: Tensor,
    dy: Tensor | None,
    dlog_prob: Tensor | None,
    dentropy: Tensor | None,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    entropy: Tensor,
    row_max: Tensor,
    log_sum: Tensor,
    scale: Tensor,
    weight_sum: Tensor,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
) -> None:
    rows, target = _rows(x), target.contiguous()
    n_rows, n_cols = rows.shape
    tile = part_tile(n_cols, BACKWARD)
    blocks = cdiv(n_rows, tile.block_rows) * cdiv(n_cols, tile.block_cols)
    with device_of(x):
        _cross_entropy_bwd[(blocks,)](
            dx,
            None if dy is None else dy.contiguous(),
            None if dlog_prob is None else dlog_prob.contiguous(),
            None if dentropy is None else dentropy.contiguous(),
            rows,
            target,
            None if weight is None else weight.contiguous(),
            row_max,
            log_sum,
            entropy,
            scale,
            weight_sum,
            ignore_index,
            label_smoothing,
            label_smoothing / n_cols,
            z_loss,
            inner,
            outer,
            rows.stride(0),
            n_rows,
            n_cols,
            MEAN=reduction == "mean",
            PER_ROW=int(reduction == "none"),
            SMOOTHED=label_smoothing != 0.0,
            WITH_Z=z_loss != 0.0,
            CAPPED=outer != 0.0,
            SCALED=inner != 1.0,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )


def _rows(x: Tensor) -> Tensor:
    """The rows, one after the other: where they lie if a stride leads from each to the next."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _steps(n_cols: int, table: Table) -> tuple[Tile, int]:
    """The tile of a step, and how many wide loads of a row a thread adds up before it adds them to
    sums of its own: all that it makes in a step.
    """
    tile = part_tile(n_cols, table)
    return tile, depth(tile.block_cols, tile.num_warps)


def _outputs(
    x: Tensor, reduction: str, asked: list[bool], weighted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the forward returns, not filled yet."""
    shape, empty = x.shape[:-1], (0,)
    return (
        x.new_empty(shape if reduction == "none" else (), dtype=torch.float32),
        x.new_empty(shape if asked[0] else empty, dtype=torch.float32),
        x.new_empty(shape if asked[1] else empty, dtype=torch.float32),
        x.new_empty(shape if asked[2] else empty, dtype=torch.int64),
        x.new_empty(() if asked[3] else empty, dtype=torch.float32),
        x.new_empty(shape, dtype=torch.float32),
        x.new_empty(shape, dtype=torch.float32),
        x.new_empty(() if reduction == "mean" else empty, dtype=torch.float32),
        x.new_empty(() if weighted else empty, dtype=torch.float32),
    )


def _forward_fake(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
    inplace: bool,
    asked: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    weighted = weight is not None and label_smoothing != 0.0
    return _outputs(x, reduction, asked, weighted)


def _backward_fake(
    dy: Tensor | None,
    dlog_prob: Tensor | None,
    dentropy: Tensor | None,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    entropy: Tensor,
    row_max: Tensor,
    log_sum: Tensor,
    scale: Tensor,
    weight_sum: Tensor,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, target, weight, ignore_index, reduction, *numbers, inplace, asked = inputs
    _y, log_prob, entropy, argmax, accuracy, row_max, log_sum, *sums = output
    ctx.save_for_backward(x, target, weight, entropy, row_max, log_sum, *sums)
    ctx.options, ctx.inplace = (ignore_index, reduction, *numbers), inplace
    ctx.set_materialize_grads(False)
    absent = [y for y, wanted in zip((log_prob, entropy), asked[:2], strict=True) if not wanted]
    ctx.mark_non_differentiable(*absent, argmax, accuracy, row_max, log_sum, *sums)


def _differentiate(
    ctx: Any, dy: Tensor | None, dlog_prob: Tensor | None, dentropy: Tensor | None, *_: None
) -> Any:
    sent, saved = (dy, dlog_prob, dentropy), ctx.saved_tensors
    if ctx.inplace:
        if torch.is_grad_enabled():
            raise NotImplementedError("cross_entropy has no second derivative, in place or not")
        cross_entropy_backward_inplace(*sent, *saved, *ctx.options)
        dx = saved[0].detach()
    else:
        dx = cross_entropy_backward(*sent, *saved, *ctx.options)
    return (dx, *[None] * 10)


cross_entropy = op.define("cross_entropy", forward, fake=_forward_fake)
cross_entropy_backward = op.define("cross_entropy_backward", backward, fake=_backward_fake)
cross_entropy_backward_inplace = torch.library.custom_op(
    f"{op.NAMESPACE}::cross_entropy_backward_inplace", backward_inplace, mutates_args=("x",)
)
op.autograd("cross_entropy", save=_save, backward=_differentiate)
