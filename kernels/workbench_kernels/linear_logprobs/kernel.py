"""linear_logprobs: log-probabilities and entropies of x·Wᵀ, its logits not in memory whole

Of each row i whose target t is kept:
    raw      = xᵢ·Wᵀ + bias
    u        = softcap · tanh(logit_scale · raw / softcap) / temperature
    row_max  = maxⱼ u
    row_sum  = Σⱼ exp(u − row_max)
    log_prob = u[t] − row_max − log row_sum
    entropy  = log row_sum − Σⱼ pⱼ · (uⱼ − row_max), with p = exp(u − row_max) / row_sum
    top      = whether t = argmaxⱼ u, the first of several

Gradient:
    du   = dlog_prob · ([j = t] − p) − dentropy · p · (log p + entropy)
    draw = du · logit_scale · (1 − tanh²) / temperature
    dx   = draw·W        dW = drawᵀ·x        dbias = Σᵢ draw

x: (N, H); W: (C, H); bias: (C,); float32, bfloat16 or float16. The logits and draw are rounded to
that dtype for the products, as PyTorch rounds them; all else is float32. Ignored rows are dropped
before the products.

Saved are row_max, row_sum and entropy of each row, how many take part, so that the backward does
not wait for the GPU, and as many rows of logits as `keep_bytes` hold. The backward multiplies the
others again, so products take 8·N·C·H operations, or 6 if all are kept.
8192 × 4096 × 128256 in bfloat16, dW 1.05 GB, dx 0.07, logits 2.10, at 700 TFLOP/s and 4.3 TB/s:
                            keeping a chunk of 8      keeping all
    products                47.6 ms                   36.9 ms
    forward reads logits    2.1 GB, 0.5 ms            0.5 ms
    backward, in place      4.2 GB, 1.0 ms            1.0 ms
    dW of later chunks      7 · 0.2 ms                one product
    peak                    1.38 GB                   3.22 GB
What is kept becomes its gradient where it lies, in one chunk, the first time that a backward needs
it, and is then where the other chunks' logits go: as much as a chunk costs no memory beside that
chunk. A second backward through the same graph, and an op that is traced, multiply again or copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from workbench_kernels import logits, numerics, op
from workbench_kernels.jit import jit
from workbench_kernels.launch import cdiv, device_of, stages
from workbench_kernels.linear_head import (
    Chunk,
    Head,
    bounds,
    kept_rows,
    rows_within,
    tile_of_logits,
)
from workbench_kernels.products import read_count
from workbench_kernels.tuning import Fixed


class Softmax(NamedTuple):
    """What the softmax is of: inner · raw, or outer · tanh(inner · raw) unless `outer` is 0."""

    inner: float
    outer: float


@jit
def _linear_logprobs_fwd(
    LOG_PROB,
    ENTROPY,
    ROW_MAX,
    ROW_SUM,
    TOP,
    LOGITS,
    TARGET,
    PLACES,
    inner,
    outer,
    n_cols,
    CAPPED: tl.constexpr,
    SCALED: tl.constexpr,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
    STAGES: tl.constexpr,
):
    row = tl.program_id(0)
    X = LOGITS + row.to(tl.int64) * n_cols
    if PLACES is not None:
        row = tl.load(PLACES + row)
    kept = row >= 0
    target = tl.load(TARGET + row, mask=kept, other=0)
    in_range = kept & (target >= 0) & (target < n_cols)
    chosen = tl.load(X + target, mask=in_range, other=float("nan")).to(tl.float32)
    chosen = logits.squash(chosen, inner, outer, CAPPED, SCALED)
    within = tl.arange(0, DEPTH)[:, None] * LANES + tl.arange(0, LANES)[None, :]
    peak = tl.full([LANES], logits.LOWEST, tl.float32)
    total = tl.zeros([LANES], tl.float32)
    spread = tl.zeros([LANES], tl.float32)
    earlier = tl.full([LANES], logits.LOWEST, tl.float32)
    for start in tl.range(0, n_cols * kept.to(tl.int32), DEPTH * LANES, num_stages=STAGES):
        cols = start + within
        mask = cols < n_cols
        x = tl.load(X + cols, mask=mask, other=float("-inf")).to(tl.float32)
        u = logits.squash(x, inner, outer, CAPPED, SCALED)
        if CAPPED or SCALED:
            u = tl.where(mask, u, float("-inf"))
        higher = tl.maximum(peak, tl.max(u, axis=0))
        if TOP is not None:
            before = tl.where(cols < target, u, float("-inf"))
            earlier = tl.maximum(earlier, tl.max(before, axis=0))
        shifted = u - higher[None, :]
        e = logits.exp(shifted)
        rescale = logits.exp(peak - higher)
        if ENTROPY is not None:
            spread = rescale * (spread + total * (peak - higher))
            spread += tl.sum(tl.where(e == 0.0, 0.0, e * shifted), axis=0)
        total = total * rescale + tl.sum(e, axis=0)
        peak = higher
    row_max, row_sum = logits.row_sum(peak, total)
    log_sum = tl.log(row_sum)
    tl.store(LOG_PROB + row, (chosen - row_max) - log_sum, mask=kept)
    tl.store(ROW_MAX + row, row_max, mask=kept)
    tl.store(ROW_SUM + row, row_sum, mask=kept)
    if TOP is not None:
        best = in_range & (chosen >= row_max) & (chosen > tl.max(earlier, axis=0))
        tl.store(TOP + row, best, mask=kept)
    if ENTROPY is not None:
        lower = peak - row_max
        spread = tl.sum(logits.exp(lower) * (spread + total * lower), axis=0)
        tl.store(ENTROPY + row, log_sum - numerics.divide(spread, row_sum), mask=kept)


@jit
def _linear_logprobs_bwd(
    OUT,
    LOGITS,
    DLOG_PROB,
    DENTROPY,
    ENTROPY,
    ROW_MAX,
    ROW_SUM,
    TARGET,
    PLACES,
    inner,
    outer,
    n_cols,
    CAPPED: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    blocks = tl.cdiv(n_cols, BLOCK)
    row = tl.program_id(0) // blocks
    cols = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    mask = cols < n_cols
    here = row.to(tl.int64) * n_cols + cols
    if PLACES is not None:
        row = tl.load(PLACES + row)
    kept = row >= 0
    target = tl.load(TARGET + row, mask=kept, other=0)
    in_range = kept & (target >= 0) & (target < n_cols)
    hit = tl.where(in_range, target, -1).to(tl.int32)
    row_max = tl.load(ROW_MAX + row, mask=kept, other=0.0)
    row_sum = tl.load(ROW_SUM + row, mask=kept, other=1.0)
    x = tl.load(LOGITS + here, mask=mask & kept, other=0.0).to(tl.float32)
    lower = logits.squash(x, inner, outer, CAPPED, SCALED) - row_max
    p = logits.exp(lower) * numerics.divide(1.0, row_sum)
    step = 0.0
    slope = tl.zeros([BLOCK], tl.float32)
    if DLOG_PROB is not None:
        step = tl.load(DLOG_PROB + row, mask=kept, other=0.0)
        step = tl.where(in_range, step, float("nan"))  # a target that is no class spoils its row
        slope = slope - step
    if DENTROPY is not None:
        dentropy = tl.load(DENTROPY + row, mask=kept, other=0.0)
        entropy = tl.load(ENTROPY + row, mask=kept, other=0.0)
        # The log of a probability of 0 is left out: times 0 it is 0.
        surprise = tl.where(p == 0.0, 0.0, lower - tl.log(row_sum) + entropy)
        slope = slope - dentropy * surprise
    du = p * slope + tl.where(cols == hit, step, 0.0)
    draw = logits.unsquash(du, x, inner, outer, CAPPED, SCALED)
    draw = tl.where(kept, draw, 0.0)
    tl.store(OUT + here, draw.to(OUT.dtype.element_ty), mask=mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried. A row is
# read in steps by the forward, by several programs of the backward.
FORWARD = Fixed({"elements": 8192, "per_thread": 64, "stages": 1})
BACKWARD = Fixed({"elements": 8192, "per_thread": 32})


def forward(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    ignore_index: int,
    inner: float,
    outer: float,
    asked: list[bool],
    keep_bytes: int,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """log_prob; entropy and top, empty unless asked for; then what the backward needs: row_max and
    row_sum of each row, the number of rows to go through, on the CPU, and the logits of the first
    of them.

    The softmax is of inner · raw, or of outer · tanh(inner · raw) unless `outer` is 0.
    `float32_sums` is for the backward.
    """
    target, softmax = target.contiguous(), Softmax(inner, outer)
    log_prob, row_max = (x.new_zeros(x.shape[0], dtype=torch.float32) for _ in range(2))
    row_sum = x.new_zeros(x.shape[0], dtype=torch.float32)
    entropy = x.new_zeros(x.shape[0] if asked[0] else 0, dtype=torch.float32)
    top = x.new_zeros(x.shape[0] if asked[1] else 0, dtype=torch.bool)
    kept = x.new_empty(_kept_rows(x, weight, keep_bytes), weight.shape[0])
    with device_of(x):
        rows = kept_rows(target, ignore_index, compact=compact)
        stored = min(kept.shape[0], rows.number)
        row_bytes = weight.shape[0] * x.dtype.itemsize
        first = bounds(0, stored, row_bytes, chunk_bytes)
        others = bounds(stored, rows.number, row_bytes, chunk_bytes)
        head = Head(x, weight, bias, rows, [*first, *others], [False] * 3)
        buffer = head.buffer(others)
        for start, stop in head.bounds:
            chunk = head.chunk(start, stop, kept[start:] if stop <= stored else buffer)
            head.project(chunk)
            entropies, tops = entropy if asked[0] else None, top if asked[1] else None
            per_row = (log_prob, entropies, row_max, row_sum, tops)
            _launch_fwd(chunk, per_row, target, softmax)
    number = x.new_full((), rows.number, dtype=torch.int64, device="cpu")
    return log_prob, entropy, top, row_max, row_sum, number, kept


def backward(
    dlog_prob: Tensor | None,
    dentropy: Tensor | None,
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    entropy: Tensor,
    row_max: Tensor,
    row_sum: Tensor,
    number: Tensor,
    kept: Tensor,
    ignore_index: int,
    inner: float,
    outer: float,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, from the logits `kept` and from those of the other rows,
    which are computed again.
    """
    return _backward(
        dlog_prob,
        dentropy,
        (x, weight, target, bias, entropy, row_max, row_sum, number),
        [kept],
        (ignore_index, inner, outer, chunk_bytes, compact, float32_sums),
        needs,
        in_place=False,
    )


def _backward(
    dlog_prob: Tensor | None,
    dentropy: Tensor | None,
    saved: Sequence[Any],
    held: list[Tensor],
    settings: Sequence[Any],
    needs: list[bool],
    *,
    in_place: bool,
) -> list[Tensor]:
    """As `backward`; `in_place` the logits `held` become their gradient, and are let go."""
    x, weight, target, bias, entropy, row_max, row_sum, number = saved
    ignore_index, inner, outer, chunk_bytes, compact, float32_sums = settings
    target, softmax = target.contiguous(), Softmax(inner, outer)
    sent = [None if d is None else d.contiguous() for d in (dlog_prob, dentropy)]
    with device_of(x):
        known = read_count(number, x.shape[0])
        rows = kept_rows(target, ignore_index, compact=compact, number=known)
        stored = min(held[0].shape[0], rows.number)
        row_bytes = weight.shape[0] * x.dtype.itemsize
        first = [(0, stored)] if in_place and stored else bounds(0, stored, row_bytes, chunk_bytes)
        others = bounds(stored, rows.number, row_bytes, chunk_bytes)
        head = Head(x, weight, bias, rows, [*first, *others], needs, wide_sums=float32_sums)
        per_row = (*sent, entropy, row_max, row_sum)
        _through(head, held, stored, per_row, target, softmax, in_place=in_place)
        return [grad for grad in head.gradients() if grad is not None]


def _through(
    head: Head,
    held: list[Tensor],
    stored: int,
    per_row: Sequence[Tensor | None],
    target: Tensor,
    softmax: Softmax,
    *,
    in_place: bool,
) -> None:
    """Go through all chunks, of the rows `stored` and of those to be multiplied again. Their memory
    is free before float32 sums are rounded.
    """
    kept = held.pop()
    through_buffer = [b for b in head.bounds if not in_place or b[1] > stored]
    buffer = head.buffer(through_buffer, free=kept if in_place else None)
    for start, stop in head.bounds:
        chunk = head.chunk(start, stop, kept[start:] if stop <= stored else buffer)
        if stop > stored:
            head.project(chunk)
        draw = chunk if in_place else chunk._replace(logits=buffer[: stop - start])
        _launch_bwd(draw.logits, chunk, per_row, target, softmax)
        head.differentiate(draw)


def _launch_fwd(
    chunk: Chunk, per_row: Sequence[Tensor | None], target: Tensor, softmax: Softmax
) -> None:
    n_rows, n_cols = chunk.logits.shape
    tile = tile_of_logits(n_cols, FORWARD)
    deep = logits.depth(tile.block_cols, tile.num_warps)
    _linear_logprobs_fwd[(n_rows,)](
        *(chunk.of(t) for t in per_row),
        chunk.logits,
        chunk.of(target),
        chunk.places,
        softmax.inner,
        softmax.outer,
        n_cols,
        CAPPED=softmax.outer != 0.0,
        SCALED=softmax.inner != 1.0,
        DEPTH=deep,
        LANES=tile.block_cols // deep,
        STAGES=stages(tile, 1, chunk.logits.dtype),
        num_warps=tile.num_warps,
    )


def _launch_bwd(
    out: Tensor,
    chunk: Chunk,
    per_row: Sequence[Tensor | None],
    target: Tensor,
    softmax: Softmax,
) -> None:
    n_rows, n_cols = chunk.logits.shape
    tile = tile_of_logits(n_cols, BACKWARD)
    _linear_logprobs_bwd[(n_rows * cdiv(n_cols, tile.block_cols),)](
        out,
        chunk.logits,
        *(chunk.of(t) for t in per_row),
        chunk.of(target),
        chunk.places,
        softmax.inner,
        softmax.outer,
        n_cols,
        CAPPED=softmax.outer != 0.0,
        SCALED=softmax.inner != 1.0,
        BLOCK=tile.block_cols,
        num_warps=tile.num_warps,
    )


def _kept_rows(x: Tensor, weight: Tensor, keep_bytes: int) -> int:
    """Of how many rows the logits are kept."""
    return rows_within(x.shape[0], weight.shape[0] * x.dtype.itemsize, keep_bytes)


def _forward_fake(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    ignore_index: int,
    inner: float,
    outer: float,
    asked: list[bool],
    keep_bytes: int,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    row = x.new_empty(x.shape[0], dtype=torch.float32)
    return (
        row,
        x.new_empty(x.shape[0] if asked[0] else 0, dtype=torch.float32),
        x.new_empty(x.shape[0] if asked[1] else 0, dtype=torch.bool),
        torch.empty_like(row),
        torch.empty_like(row),
        torch.empty((), dtype=torch.int64, device="cpu"),
        x.new_empty(_kept_rows(x, weight, keep_bytes), weight.shape[0]),
    )


def _backward_fake(
    dlog_prob: Tensor | None,
    dentropy: Tensor | None,
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    *others: Any,
) -> list[Tensor]:
    inputs = zip((x, weight, bias), others[-1], strict=True)
    return [t.new_empty(t.shape) for t, needed in inputs if needed and t is not None]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, target, bias, ignore_index, inner, outer, asked, _keep, *plan = inputs
    _log_prob, entropy, _top, row_max, row_sum, number, kept = output
    ctx.save_for_backward(x, weight, target, bias, entropy, row_max, row_sum, number)
    ctx.settings = (ignore_index, inner, outer, *plan)
    ctx.kept = kept  # not saved for backward: it is lost in one
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*(output[2:] if asked[0] else output[1:]))


def _differentiate(
    ctx: Any, dlog_prob: Tensor | None, dentropy: Tensor | None, *_others: None
) -> Any:
    needs = [ctx.needs_input_grad[index] for index in (0, 1, 3)]
    saved, held = ctx.saved_tensors, [ctx.kept]
    sent = [d for d in (dlog_prob, dentropy) if d is not None]
    ours = ctx.kept.shape[0] and getattr(ctx, "called_directly", False)
    if ours and type(sent[0]) is Tensor and not torch.is_grad_enabled():
        # Nobody else has seen what is kept: it becomes its gradient, and is no longer kept.
        ctx.kept = ctx.kept.new_empty(0, ctx.kept.shape[1])
        grads = _backward(dlog_prob, dentropy, saved, held, ctx.settings, needs, in_place=True)
    else:
        grads = linear_logprobs_backward(dlog_prob, dentropy, *saved, *held, *ctx.settings, needs)
    dx, dweight, dbias = op.spread(grads, needs)
    return dx, dweight, None, dbias, *(None,) * 8


linear_logprobs = op.define("linear_logprobs", forward, fake=_forward_fake)
linear_logprobs_backward = op.define("linear_logprobs_backward", backward, fake=_backward_fake)
op.autograd("linear_logprobs", save=_save, backward=_differentiate)
