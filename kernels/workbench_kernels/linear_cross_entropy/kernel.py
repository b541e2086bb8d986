"""linear_cross_entropy: the cross entropy of x·Wᵀ, without its logits ever being in memory whole

Of each row i whose target t is kept, with class weights w, C classes and label smoothing ε:
    raw  = xᵢ·Wᵀ + bias
    u    = softcap · tanh(logit_scale · raw / softcap) / temperature
    lse  = log Σⱼ exp(uⱼ)
    loss = (1 − ε) · w[t] · (lse − u[t]) + ε / C · Σⱼ wⱼ · (lse − uⱼ) + z_loss · w[t] · lse²
"mean" divides their sum by Σᵢ w[t], or by a divisor that is given.

Gradient, with g = dy / Σᵢ w[t] and p = exp(u − lse):
    du   = g · ((w[t] · (1 − ε + 2 · z_loss · lse) + ε / C · Σⱼ wⱼ) · p − w[t] · (1 − ε) · [j = t]
           − ε / C · wⱼ)
    draw = du · logit_scale · (1 − tanh²) / temperature
    dx   = draw·W        dW = drawᵀ·x        dbias = Σᵢ draw

x: (N, H); W: (C, H); bias: (C,); float32, bfloat16 or float16. The logits and draw are rounded to
that dtype for the products, as PyTorch rounds them; all else is float32. Ignored rows are dropped
before the products.

The forward computes the gradients too: 6·N·C·H operations, where logits that the backward computes
again take 8. Chunks of rows go through one buffer (`linear_head`); one program makes of a row of
logits its loss and, in its place, its gradient: it reads the row twice, backwards the second time,
and a row for each multiprocessor (250 KB at 128256 classes) stays in the L2 cache between. 8192 ×
4096 × 128256 in bfloat16, dW 1002 MiB, dx 64 MiB, at 700 TFLOP/s and 4.3 TB/s:
    products                25.8 TFLOP                              36.9 ms
    rows of logits          4.2 GB read and written, 2.1 again       1.0 ms, 1.5 without L2
    dW of later chunks      2.1 GB each, part of it behind products  0.3 ms each
    chunk_bytes   chunks     logits    peak
    1 GiB         2 × 4096   1002 MiB  2.02 GiB
    512 MiB       4 × 2048    501 MiB  1.53 GiB
    256 MiB       8 × 1024    251 MiB  1.29 GiB
float32_sums takes 2004 MiB more and 0.7 ms to round, and twice the bytes of dW for each chunk.

Gradients are stored for an upstream gradient of 1, and their first use in a backward takes them:
multiplied in place by what the upstream gradient is on the device, untouched where that is 1. Where
it must be known first, the backward computes the logits again: for reduction "none", for float16 (a
scaled loss is scaled before anything is rounded), and for a second backward through the same graph.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from workbench_kernels import logits, numerics, op
from workbench_kernels.jit import jit
from workbench_kernels.launch import device_of, programs, stages
from workbench_kernels.linear_head import Chunk, Head, bounds, kept_rows, tile_of_logits
from workbench_kernels.stored_gradients import is_stored, scaled, store, take
from workbench_kernels.tuning import Fixed

_ROWS_AT_ONCE = 1024  # of the one program that adds up all rows


class Loss(NamedTuple):
    """What the loss is: the softmax is of inner · raw, or outer · tanh(inner · raw) unless `outer`
    is 0; the rest as in the wrapper.
    """

    ignore_index: int
    reduction: str
    label_smoothing: float
    z_loss: float
    inner: float
    outer: float


class Plan(NamedTuple):
    """How it is computed, as in the wrapper."""

    chunk_bytes: int
    compact: bool
    float32_sums: bool


@jit(do_not_specialize=["n_rows"])
def _rows_of_logits(
    LOGITS,  # what the products are; then their gradient, if GRADIENT
    ROW_LOSS,
    ARGMAX,
    TARGET,
    PLACES,
    CLASS_WEIGHT,
    DLOSS,
    DIVISOR,
    label_smoothing,
    share,
    z_loss,
    inner,
    outer,
    n_rows,
    n_cols,
    PER_ROW: tl.constexpr,
    SMOOTHED: tl.constexpr,
    WITH_Z: tl.constexpr,
    CAPPED: tl.constexpr,
    SCALED: tl.constexpr,
    GRADIENT: tl.constexpr,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
    STAGES: tl.constexpr,
):
    within = tl.arange(0, DEPTH)[:, None] * LANES + tl.arange(0, LANES)[None, :]
    steps = tl.cdiv(n_cols, DEPTH * LANES)
    for number in range(tl.program_id(0), n_rows, tl.num_programs(0)):
        X = LOGITS + tl.cast(number, tl.int64) * n_cols
        row = tl.cast(number, tl.int32)
        if PLACES is not None:
            row = tl.load(PLACES + number)
        kept = row >= 0
        target = tl.load(TARGET + row, mask=kept, other=0)
        in_range = kept & (target >= 0) & (target < n_cols)
        # Before the row, of which other threads write the gradient as soon as they can.
        chosen = tl.load(X + target, mask=in_range, other=float("nan")).to(tl.float32)
        chosen = logits.squash(chosen, inner, outer, CAPPED, SCALED)
        peak = tl.full([LANES], logits.LOWEST, tl.float32)
        total = tl.zeros([LANES], tl.float32)
        weighted = tl.zeros([LANES], tl.float32)
        weights = tl.zeros([LANES], tl.float32)
        place = tl.zeros([LANES], tl.int32)
        for start in tl.range(0, n_cols * kept.to(tl.int32), DEPTH * LANES, num_stages=STAGES):
            cols = start + within
            mask = cols < n_cols
            x = tl.load(X + cols, mask=mask, other=float("-inf")).to(tl.float32)
            u = logits.squash(x, inner, outer, CAPPED, SCALED)
            if CAPPED or SCALED:
                u = tl.where(mask, u, float("-inf"))
            if ARGMAX is not None:
                place, highest = logits.first_of_largest(u, cols, peak, place)
            else:
                highest = tl.max(u, axis=0)
            higher = tl.maximum(peak, highest)
            e = logits.exp(u - higher[None, :])
            total = total * logits.exp(peak - higher) + tl.sum(e, axis=0)
            peak = higher
            if SMOOTHED:
                counted = tl.where(mask, u, 0.0)
                if CLASS_WEIGHT is not None:
                    w = tl.load(CLASS_WEIGHT + cols, mask=mask, other=0.0).to(tl.float32)
                    counted = counted * w
                    weights += tl.sum(w, axis=0)
                weighted += tl.sum(counted, axis=0)
        row_max, row_sum = logits.row_sum(peak, total)
        log_sum = tl.log(row_sum)
        lse = row_max + log_sum
        weight = 1.0
        if CLASS_WEIGHT is not None:
            weight = tl.load(CLASS_WEIGHT + target, mask=in_range, other=0.0).to(tl.float32)
        certain = weight
        if SMOOTHED:
            certain = certain * (1.0 - label_smoothing)
        loss = certain * (log_sum + (row_max - chosen))
        slope = certain
        if SMOOTHED:
            if CLASS_WEIGHT is not None:
                sum_of_weights = tl.sum(weights, axis=0)
                loss += share * (lse * sum_of_weights - tl.sum(weighted, axis=0))
                slope += share * sum_of_weights
            else:
                loss += share * (lse * n_cols - tl.sum(weighted, axis=0))
                slope += label_smoothing
        if WITH_Z:
            loss += z_loss * weight * lse * lse
            slope += 2.0 * z_loss * weight * lse
        tl.store(ROW_LOSS + row, loss, mask=kept)
        if ARGMAX is not None:
            best = tl.min(tl.where(peak == row_max, place, logits.NO_COLUMN), axis=0)
            tl.store(ARGMAX + row, best.to(tl.int64), mask=kept)

        if GRADIENT:
            g = 1.0
            if DLOSS is not None:
                g = tl.load(DLOSS + row * PER_ROW, mask=kept, other=0.0).to(tl.float32)
            if DIVISOR is not None:
                g = numerics.divide(g, tl.load(DIVISOR).to(tl.float32))
            # A target that is no class spoils its row; what is not kept has no gradient.
            g = tl.where(in_range, g, float("nan"))
            # Divided by the sum itself: the rounding of its log would be in every element alike.
            slope = tl.where(kept, numerics.divide(slope * g, row_sum), 0.0)
            step = tl.where(kept, certain * g, 0.0)
            pull = tl.where(kept, share * g, 0.0)
            hit = tl.where(in_range, target, -1).to(tl.int32)
            for done in tl.range(0, steps, num_stages=STAGES):
                # Backwards: what was read last is still in the cache.
                cols = (steps - 1 - done) * (DEPTH * LANES) + within
                mask = cols < n_cols
                x = tl.load(X + cols, mask=mask & kept, other=0.0).to(tl.float32)
                u = logits.squash(x, inner, outer, CAPPED, SCALED)
                du = logits.exp(u - row_max) * slope - tl.where(cols == hit, step, 0.0)
                if SMOOTHED:
                    if CLASS_WEIGHT is not None:
                        w = tl.load(CLASS_WEIGHT + cols, mask=mask, other=0.0).to(tl.float32)
                        du -= pull * w
                    else:
                        du -= pull
                draw = logits.unsquash(du, x, inner, outer, CAPPED, SCALED)
                draw = tl.where(kept, draw, 0.0)  # the row's maximum may be anything
                tl.store(X + cols, draw.to(LOGITS.dtype.element_ty), mask=mask)


@jit(do_not_specialize=["n_rows", "ignore_index"])
def _weights_of_targets(
    SUM, TARGET, CLASS_WEIGHT, n_rows, n_cols, ignore_index, BLOCK: tl.constexpr
):
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        target = tl.load(TARGET + rows, mask=rows < n_rows, other=ignore_index)
        known = (target != ignore_index) & (target >= 0) & (target < n_cols)
        total += tl.load(CLASS_WEIGHT + target, mask=known, other=0.0).to(tl.float32)
    tl.store(SUM, tl.sum(total, axis=0))


@jit(do_not_specialize=["n_rows"])
def _over_rows(Y, ACCURACY, ROW_LOSS, ARGMAX, TARGET, KEPT, DIVISOR, n_rows, BLOCK: tl.constexpr):
    loss = tl.zeros([BLOCK], tl.float32)
    right = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        mask = rows < n_rows
        if Y is not None:
            loss += tl.load(ROW_LOSS + rows, mask=mask, other=0.0)
        if ACCURACY is not None:
            argmax = tl.load(ARGMAX + rows, mask=mask, other=-1)
            target = tl.load(TARGET + rows, mask=mask, other=-1)
            right += tl.where((argmax >= 0) & (argmax == target), 1.0, 0.0)
    if Y is not None:
        y = tl.sum(loss, axis=0)
        if DIVISOR is not None:
            y = numerics.divide(y, tl.load(DIVISOR).to(tl.float32))
        tl.store(Y, y)
    if ACCURACY is not None:
        count = tl.load(KEPT).to(tl.float32)
        tl.store(ACCURACY, numerics.divide(tl.sum(right, axis=0), count))


# With what the kernels are launched; tuning.py says what it means and what may be tried. FORWARD is
# of the rows of logits, of 2048 of which in bf16 it takes 0.51 ms on an H100 (0.37 to copy them).
FORWARD = Fixed({"elements": 16384, "per_thread": 32, "stages": 3, "resident": 64})
BACKWARD = Fixed({"elements": 4096, "per_thread": 16, "resident": 32})


class _Pass:
    """One pass over the rows: their losses, and the gradients that `needs` asks for.

    `dloss` is the upstream gradient, one or one for each row; None stands for 1.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        target: Tensor,
        bias: Tensor | None,
        class_weight: Tensor | None,
        divisor: Tensor | None,
        loss: Loss,
        plan: Plan,
        needs: list[bool],
        *,
        dloss: Tensor | None = None,
        ranked: bool = False,
    ) -> None:
        self.target, self.loss, self.dloss = target.contiguous(), loss, dloss
        self.class_weight = None if class_weight is None else class_weight.contiguous()
        n_rows, n_cols = x.shape[0], weight.shape[0]
        rows = kept_rows(self.target, loss.ignore_index, compact=plan.compact)
        chunks = bounds(0, rows.number, n_cols * x.dtype.itemsize, plan.chunk_bytes)
        self.kept, self.divisor = rows.kept, divisor
        if loss.reduction == "mean" and divisor is None:
            self.divisor = self._sum_of_weights(n_cols)
        self.row_loss = x.new_zeros(n_rows, dtype=torch.float32)
        self.argmax = target.new_full((n_rows if ranked else 0,), -1, dtype=torch.int64)
        self.ranked, self.differentiates = ranked, any(needs)
        self.head = Head(x, weight, bias, rows, chunks, needs, wide_sums=plan.float32_sums)

    def run(self) -> list[Tensor | None]:
        """Fill in the losses; the gradients of x, weight and bias, None for what isn't needed."""
        self._through()
        return self.head.gradients()

    def _through(self) -> None:
        """Go through all chunks. Their memory is free before float32 sums are rounded."""
        for chunk in self.head.chunks():
            self._rows(chunk)
            if self.differentiates:
                self.head.differentiate(chunk)

    def _sum_of_weights(self, n_cols: int) -> Tensor:
        if self.class_weight is None:
            return self.kept
        total = self.target.new_empty((), dtype=torch.float32)
        _weights_of_targets[(1,)](
            total,
            self.target,
            self.class_weight,
            self.target.numel(),
            n_cols,
            self.loss.ignore_index,
            BLOCK=_ROWS_AT_ONCE,
        )
        return total

    def _rows(self, chunk: Chunk) -> None:
        """Losses of a chunk; its logits become their gradient."""
        loss, (n_rows, n_cols) = self.loss, chunk.logits.shape
        tile = tile_of_logits(n_cols, FORWARD)
        deep = logits.depth(tile.block_cols, tile.num_warps)
        per_row = loss.reduction == "none"
        _rows_of_logits[(programs(chunk.logits, n_rows, tile),)](
            chunk.logits,
            chunk.of(self.row_loss),
            chunk.of(self.argmax) if self.ranked else None,
            chunk.of(self.target),
            chunk.places,
            self.class_weight,
            chunk.of(self.dloss) if per_row else self.dloss,
            self.divisor,
            loss.label_smoothing,
            loss.label_smoothing / n_cols,
            loss.z_loss,
            loss.inner,
            loss.outer,
            n_rows,
            n_cols,
            PER_ROW=int(per_row),
            SMOOTHED=loss.label_smoothing != 0.0,
            WITH_Z=loss.z_loss != 0.0,
            CAPPED=loss.outer != 0.0,
            SCALED=loss.inner != 1.0,
            GRADIENT=self.differentiates,
            DEPTH=deep,
            LANES=tile.block_cols // deep,
            STAGES=stages(tile, 1, chunk.logits.dtype),
            num_warps=tile.num_warps,
        )


def forward(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    class_weight: Tensor | None,
    divisor: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
    asked: list[bool],
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss; argmax and accuracy, empty unless `asked`; the gradients of x, weight and bias,
    empty unless `needs` asks for them and they are stored.
    """
    loss = Loss(ignore_index, reduction, label_smoothing, z_loss, inner, outer)
    plan = Plan(chunk_bytes, compact, float32_sums)
    now = [needed and is_stored(x, reduction) for needed in needs]
    inputs = (x, weight, target, bias, class_weight, divisor)
    with device_of(x):
        one = _Pass(*inputs, loss, plan, now, ranked=any(asked))
        grads = one.run()
        y = one.row_loss if reduction == "none" else x.new_empty((), dtype=torch.float32)
        accuracy = x.new_empty(() if asked[1] else 0, dtype=torch.float32)
        if reduction != "none" or asked[1]:
            _over_rows[(1,)](
                None if reduction == "none" else y,
                accuracy if asked[1] else None,
                one.row_loss,
                one.argmax,
                one.target,
                one.kept,
                one.divisor,
                x.shape[0],
                BLOCK=_ROWS_AT_ONCE,
            )
    argmax = one.argmax if asked[0] else one.argmax.new_empty(0)
    dx, dweight, dbias = (x.new_empty(0) if grad is None else grad for grad in grads)
    return y, argmax, accuracy, dx, dweight, dbias


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    class_weight: Tensor | None,
    divisor: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, from the logits computed again."""
    loss = Loss(ignore_index, reduction, label_smoothing, z_loss, inner, outer)
    plan = Plan(chunk_bytes, compact, float32_sums)
    inputs = (x, weight, target, bias, class_weight, divisor)
    with device_of(x):
        grads = _Pass(*inputs, loss, plan, needs, dloss=dy.contiguous()).run()
    return [grad for grad in grads if grad is not None]


def scale(grads: list[Tensor], factor: Tensor) -> list[Tensor]:
    """Copies of gradients, multiplied."""
    return scaled(grads, factor, BACKWARD)


def _forward_fake(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    class_weight: Tensor | None,
    divisor: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    inner: float,
    outer: float,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
    asked: list[bool],
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    now = [needed and is_stored(x, reduction) for needed in needs]
    dx, dweight, dbias = (
        x.new_empty(t.shape if there and t is not None else 0)
        for t, there in zip((x, weight, bias), now, strict=True)
    )
    return (
        x.new_empty(target.shape if reduction == "none" else (), dtype=torch.float32),
        x.new_empty(target.shape if asked[0] else 0, dtype=torch.int64),
        x.new_empty(() if asked[1] else 0, dtype=torch.float32),
        dx,
        dweight,
        dbias,
    )


def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, *settings: Any
) -> list[Tensor]:
    inputs = zip((x, weight, bias), settings[-1], strict=True)
    return [t.new_empty(t.shape) for t, needed in inputs if needed and t is not None]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, _ignored, reduction, _s, _z, _i, _o, _bytes, _c, _f, _asked, needs = inputs
    ctx.save_for_backward(*tensors)
    ctx.settings = inputs[len(tensors) : -2]
    store(ctx, output[3:], [needed and is_stored(inputs[0], reduction) for needed in needs])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # zeros the size of the gradients


def _differentiate(ctx: Any, dy: Tensor, *_others: None) -> Any:
    def again(needs: list[bool]) -> list[Tensor]:
        return linear_cross_entropy_backward(dy, *ctx.saved_tensors, *ctx.settings, needs)

    asked = [ctx.needs_input_grad[index] for index in (0, 1, 3)]
    dx, dweight, dbias = take(ctx, dy, asked, BACKWARD, linear_cross_entropy_scale, again)
    return dx, dweight, None, dbias, *(None,) * 13


linear_cross_entropy = op.define("linear_cross_entropy", forward, fake=_forward_fake)
linear_cross_entropy_backward = op.define(
    "linear_cross_entropy_backward", backward, fake=_backward_fake
)
linear_cross_entropy_scale = op.define(
    "linear_cross_entropy_scale", scale, fake=lambda grads, factor: [*map(torch.empty_like, grads)]
)
op.autograd("linear_cross_entropy", save=_save, backward=_differentiate)
