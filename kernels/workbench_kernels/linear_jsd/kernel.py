"""linear_jsd: the Jensen-Shannon divergence of a student's head from a teacher's, their logits
never in memory whole

Of each row i that is kept, with s and t the logits of student and teacher over the temperature:
    S    = softmax(s), T = softmax(t), M = β · T + (1 − β) · S
    loss = β · KL(T ‖ M) + (1 − β) · KL(S ‖ M),  KL(P ‖ Q) = Σⱼ pⱼ · (log pⱼ − log qⱼ)
           KL(T ‖ S) where β is 0, KL(S ‖ T) where it is 1
"mean" divides their sum by how many rows are kept.

Gradient of the student's, with g = dy / rows kept:
    ds   = g · (1 − β) · S · (log S − log M − KL(S ‖ M))     S − T where β is 0,
                                                             S · (log S − log T − KL(S ‖ T)) where 1
    draw = ds / temperature
    dx   = draw·W        dW = drawᵀ·x        dbias = Σᵢ draw

x: (N, H); W: (C, H); of the teacher (N, H′) and (C, H′); float32, bfloat16 or float16. The logits
and draw are rounded to that dtype for the products, as PyTorch rounds them; all else is float32.
Ignored rows are dropped before the products.

The forward computes the gradient too: (6·H + 2·H′)·N·C operations. Chunks of rows go through two
buffers; one program makes of a row of both its loss and, in the student's place, the gradient. It
reads both rows three times (twice where β is 0), there and back. 4096 × (2048, 4096) × 128256 in
bfloat16, dW 525 MB, dx 17 MB, at 700 TFLOP/s and 4.3 TB/s:
    products                10.8 TFLOP                                     15.4 ms
    rows of logits          3.2 GB, 7.4 with nothing of it in the L2 cache  0.7 to 1.7 ms
    dW of later chunks      1.05 GB each, part of it behind products       0.2 ms each
chunk_bytes of 512 MiB are 4 chunks of 1024 rows, 525 MB of logits: 1.07 GB at the peak.

Gradients are stored for an upstream gradient of 1 (`stored_gradients`); for reduction "none" and
for float16 the backward computes the logits again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import logits, numerics, op
from workbench_kernels.jit import jit
from workbench_kernels.launch import device_of, programs, stages
from workbench_kernels.linear_head import Chunk, Head, Rows, bounds, kept_rows, tile_of_logits
from workbench_kernels.stored_gradients import is_stored, scaled, store, take
from workbench_kernels.tuning import Fixed

_ROWS_AT_ONCE = 1024  # of the one program that adds up all rows


class Loss(NamedTuple):
    """What the loss is, and how it is computed, as in the wrapper."""

    beta: float
    temperature: float
    ignore_index: int
    reduction: str
    chunk_bytes: int
    compact: bool
    float32_sums: bool


@triton.jit
def _softmax(
    X, kept, slope, n_cols, DEPTH: tl.constexpr, LANES: tl.constexpr, STAGES: tl.constexpr
):
    """The maximum of slope · x, and the sum of exp(slope · x − maximum), of one row."""
    within = tl.arange(0, DEPTH)[:, None] * LANES + tl.arange(0, LANES)[None, :]
    peak = tl.full([LANES], logits.LOWEST, tl.float32)
    total = tl.zeros([LANES], tl.float32)
    for start in tl.range(0, n_cols * kept.to(tl.int32), DEPTH * LANES, num_stages=STAGES):
        cols = start + within
        mask = cols < n_cols
        x = tl.load(X + cols, mask=mask, other=0.0).to(tl.float32)
        u = tl.where(mask, slope * x, float("-inf"))
        higher = tl.maximum(peak, tl.max(u, axis=0))
        total = total * logits.exp(peak - higher) + tl.sum(logits.exp(u - higher[None, :]), axis=0)
        peak = higher
    return logits.row_sum(peak, total)


@triton.jit
def _to_mixture(log_ratio, beta):
    """log M − log S and log M − log T, of log T − log S: exact to the last digits where S and T are
    alike, and where one is next to nothing beside the other.
    """
    e = logits.exp(-tl.abs(log_ratio))
    smaller = tl.where(log_ratio > 0.0, 1.0 - beta, beta)
    log_m = tl.log((1.0 - smaller) + smaller * e)  # over the larger of the two
    return tl.maximum(log_ratio, 0.0) + log_m, tl.maximum(-log_ratio, 0.0) + log_m


@triton.jit
def _times(p, x):
    """p · x, and 0 where p is."""
    return tl.where(p == 0.0, 0.0, p * x)


@jit(do_not_specialize=["n_rows"])
def _rows_of_logits(
    STUDENT,  # what the products are; then their gradient, if GRADIENT
    TEACHER,
    ROW_LOSS,
    PLACES,
    DLOSS,
    DIVISOR,
    beta,
    slope,
    n_rows,
    n_cols,
    PER_ROW: tl.constexpr,
    TO_STUDENT: tl.constexpr,
    MIXED: tl.constexpr,
    LOSS_FIRST: tl.constexpr,
    GRADIENT: tl.constexpr,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
    STAGES: tl.constexpr,
):
    within = tl.arange(0, DEPTH)[:, None] * LANES + tl.arange(0, LANES)[None, :]
    block: tl.constexpr = DEPTH * LANES
    steps = tl.cdiv(n_cols, block)
    for number in range(tl.program_id(0), n_rows, tl.num_programs(0)):
        S = STUDENT + tl.cast(number, tl.int64) * n_cols
        T = TEACHER + tl.cast(number, tl.int64) * n_cols
        row = tl.cast(number, tl.int32)
        if PLACES is not None:
            row = tl.load(PLACES + number)
        kept = row >= 0
        s_max, s_sum = _softmax(S, kept, slope, n_cols, DEPTH, LANES, STAGES)
        t_max, t_sum = _softmax(T, kept, slope, n_cols, DEPTH, LANES, STAGES)
        apart = (t_max - s_max) + tl.log(numerics.divide(t_sum, s_sum))
        s_part, t_part = numerics.divide(1.0, s_sum), numerics.divide(1.0, t_sum)
        of_s = tl.zeros([LANES], tl.float32)
        of_t = tl.zeros([LANES], tl.float32)
        if LOSS_FIRST:  # else it is found with the gradient, which does not hang on it
            # Backwards, then forwards again: what was read last is still in the cache.
            for done in tl.range(0, steps * kept.to(tl.int32), num_stages=STAGES):
                cols = (steps - 1 - done) * block + within
                mask = cols < n_cols
                s = tl.load(S + cols, mask=mask, other=0.0).to(tl.float32)
                t = tl.load(T + cols, mask=mask, other=0.0).to(tl.float32)
                log_ratio = slope * (t - s) - apart
                p_s = tl.where(mask, logits.exp(slope * s - s_max) * s_part, 0.0)
                p_t = tl.where(mask, logits.exp(slope * t - t_max) * t_part, 0.0)
                if MIXED:
                    from_s, from_t = _to_mixture(log_ratio, beta)
                    of_s -= tl.sum(_times(p_s, from_s), axis=0)
                    of_t -= tl.sum(_times(p_t, from_t), axis=0)
                elif TO_STUDENT:
                    of_t += tl.sum(_times(p_t, log_ratio), axis=0)
                else:
                    of_s -= tl.sum(_times(p_s, log_ratio), axis=0)
        kl_s = tl.sum(of_s, axis=0)

        if GRADIENT:
            g = slope
            if DLOSS is not None:
                g = g * tl.load(DLOSS + row * PER_ROW, mask=kept, other=0.0).to(tl.float32)
            if DIVISOR is not None:
                g = numerics.divide(g, tl.load(DIVISOR).to(tl.float32))
            if MIXED:
                g = g * (1.0 - beta)
            for start in tl.range(0, n_cols, block, num_stages=STAGES):
                cols = start + within
                mask = cols < n_cols
                read = mask & kept
                s = tl.load(S + cols, mask=read, other=0.0).to(tl.float32)
                t = tl.load(T + cols, mask=read, other=0.0).to(tl.float32)
                p_s = logits.exp(slope * s - s_max) * s_part
                log_ratio = slope * (t - s) - apart
                if TO_STUDENT:
                    p_t = tl.where(mask, logits.exp(slope * t - t_max) * t_part, 0.0)
                    of_t += tl.sum(_times(p_t, log_ratio), axis=0)
                    ds = p_s - p_t
                elif MIXED:
                    from_s, _from_t = _to_mixture(log_ratio, beta)
                    ds = -_times(p_s, from_s + kl_s)
                else:
                    ds = -_times(p_s, log_ratio + kl_s)
                draw = tl.where(kept, g * ds, 0.0)
                tl.store(S + cols, draw.to(STUDENT.dtype.element_ty), mask=mask)
        loss = kl_s
        if MIXED:
            loss = beta * tl.sum(of_t, axis=0) + (1.0 - beta) * kl_s
        elif TO_STUDENT:
            loss = tl.sum(of_t, axis=0)
        tl.store(ROW_LOSS + row, loss, mask=kept)


@jit(do_not_specialize=["n_rows"])
def _over_rows(Y, ROW_LOSS, DIVISOR, n_rows, BLOCK: tl.constexpr):
    loss = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        loss += tl.load(ROW_LOSS + rows, mask=rows < n_rows, other=0.0)
    y = tl.sum(loss, axis=0)
    if DIVISOR is not None:
        y = numerics.divide(y, tl.load(DIVISOR).to(tl.float32))
    tl.store(Y, y)


# With what the kernels are launched; tuning.py says what it means and what may be tried. FORWARD is
# of the rows of logits: few programs on a multiprocessor, so that their rows stay in its cache.
FORWARD = Fixed({"elements": 16384, "per_thread": 16, "stages": 1, "resident": 32})
BACKWARD = Fixed({"elements": 4096, "per_thread": 16, "resident": 32})


class _Pass:
    """One pass over the rows: their losses, and the gradients that `needs` asks for.

    `inputs` as `forward` takes them. `dloss` is the upstream gradient, one or one for each row;
    None stands for 1.
    """

    def __init__(
        self,
        inputs: Sequence[Any],
        loss: Loss,
        needs: list[bool],
        *,
        dloss: Tensor | None = None,
    ) -> None:
        x, weight, teacher_x, teacher_weight, target, bias, teacher_bias = inputs
        self.loss, self.dloss, self.differentiates = loss, dloss, any(needs)
        rows = _rows(x, target, loss)
        self.divisor = rows.kept if loss.reduction == "mean" else None
        self.row_loss = x.new_zeros(x.shape[0], dtype=torch.float32)
        both = 2 * weight.shape[0] * x.dtype.itemsize
        chunks = bounds(0, rows.number, both, loss.chunk_bytes)
        self.student = Head(x, weight, bias, rows, chunks, needs, wide_sums=loss.float32_sums)
        self.teacher = Head(teacher_x, teacher_weight, teacher_bias, rows, chunks, [False] * 3)

    def run(self) -> list[Tensor | None]:
        """Fill in the losses; the gradients of x, weight and bias, None for what isn't needed."""
        self._through()
        return self.student.gradients()

    def _through(self) -> None:
        """Go through all chunks. Their memory is free before float32 sums are rounded."""
        for chunk, of_teacher in zip(self.student.chunks(), self.teacher.chunks(), strict=True):
            self._rows(chunk, of_teacher)
            if self.differentiates:
                self.student.differentiate(chunk)

    def _rows(self, chunk: Chunk, of_teacher: Chunk) -> None:
        """Losses of a chunk; the student's logits become their gradient."""
        loss, (n_rows, n_cols) = self.loss, chunk.logits.shape
        tile = tile_of_logits(n_cols, FORWARD)
        deep = logits.depth(tile.block_cols, tile.num_warps)
        per_row = loss.reduction == "none"
        _rows_of_logits[(programs(chunk.logits, n_rows, tile),)](
            chunk.logits,
            of_teacher.logits,
            chunk.of(self.row_loss),
            chunk.places,
            chunk.of(self.dloss) if per_row else self.dloss,
            self.divisor,
            loss.beta,
            1.0 / loss.temperature,
            n_rows,
            n_cols,
            PER_ROW=int(per_row),
            TO_STUDENT=loss.beta == 0.0,
            MIXED=0.0 < loss.beta < 1.0,
            LOSS_FIRST=loss.beta != 0.0 or not self.differentiates,
            GRADIENT=self.differentiates,
            DEPTH=deep,
            LANES=tile.block_cols // deep,
            STAGES=stages(tile, 2, chunk.logits.dtype),
            num_warps=tile.num_warps,
        )


def _rows(x: Tensor, target: Tensor | None, loss: Loss) -> Rows:
    """The rows that take part: all of them where no target says otherwise."""
    if target is None:
        number = x.shape[0]
        return Rows(None, number, x.new_full((), number, dtype=torch.int32))
    return kept_rows(target.contiguous(), loss.ignore_index, compact=loss.compact)


def forward(
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None,
    bias: Tensor | None,
    teacher_bias: Tensor | None,
    beta: float,
    temperature: float,
    ignore_index: int,
    reduction: str,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss; the gradients of x, weight and bias, empty unless `needs` asks for them and they
    are stored.
    """
    loss = Loss(beta, temperature, ignore_index, reduction, chunk_bytes, compact, float32_sums)
    now = [needed and is_stored(x, reduction) for needed in needs]
    inputs = (x, weight, teacher_x, teacher_weight, target, bias, teacher_bias)
    with device_of(x):
        one = _Pass(inputs, loss, now)
        grads = one.run()
        y = one.row_loss
        if reduction != "none":
            y = x.new_empty((), dtype=torch.float32)
            _over_rows[(1,)](y, one.row_loss, one.divisor, x.shape[0], BLOCK=_ROWS_AT_ONCE)
    dx, dweight, dbias = (x.new_empty(0) if grad is None else grad for grad in grads)
    return y, dx, dweight, dbias


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None,
    bias: Tensor | None,
    teacher_bias: Tensor | None,
    beta: float,
    temperature: float,
    ignore_index: int,
    reduction: str,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, from the logits computed again."""
    loss = Loss(beta, temperature, ignore_index, reduction, chunk_bytes, compact, float32_sums)
    inputs = (x, weight, teacher_x, teacher_weight, target, bias, teacher_bias)
    with device_of(x):
        grads = _Pass(inputs, loss, needs, dloss=dy.contiguous()).run()
    return [grad for grad in grads if grad is not None]


def scale(grads: list[Tensor], factor: Tensor) -> list[Tensor]:
    """Copies of gradients, multiplied."""
    return scaled(grads, factor, BACKWARD)


def _forward_fake(
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None,
    bias: Tensor | None,
    teacher_bias: Tensor | None,
    beta: float,
    temperature: float,
    ignore_index: int,
    reduction: str,
    chunk_bytes: int,
    compact: bool,
    float32_sums: bool,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    now = [needed and is_stored(x, reduction) for needed in needs]
    dx, dweight, dbias = (
        x.new_empty(t.shape if there and t is not None else 0)
        for t, there in zip((x, weight, bias), now, strict=True)
    )
    shape = x.shape[:1] if reduction == "none" else ()
    return x.new_empty(shape, dtype=torch.float32), dx, dweight, dbias


def _backward_fake(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None,
    bias: Tensor | None,
    *settings: Any,
) -> list[Tensor]:
    inputs = zip((x, weight, bias), settings[-1], strict=True)
    return [t.new_empty(t.shape) for t, needed in inputs if needed and t is not None]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, reduction, needs = inputs[0], inputs[10], inputs[-1]
    ctx.save_for_backward(*inputs[:7])
    ctx.settings = inputs[7:-1]
    store(ctx, output[1:], [needed and is_stored(x, reduction) for needed in needs])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # zeros the size of the gradients


def _differentiate(ctx: Any, dy: Tensor, *_others: None) -> Any:
    def again(needs: list[bool]) -> list[Tensor]:
        return linear_jsd_backward(dy, *ctx.saved_tensors, *ctx.settings, needs)

    asked = [ctx.needs_input_grad[index] for index in (0, 1, 5)]
    dx, dweight, dbias = take(ctx, dy, asked, BACKWARD, linear_jsd_scale, again)
    return dx, dweight, None, None, None, dbias, *(None,) * 9


linear_jsd = op.define("linear_jsd", forward, fake=_forward_fake)
linear_jsd_backward = op.define("linear_jsd_backward", backward, fake=_backward_fake)
linear_jsd_scale = op.define(
    "linear_jsd_scale", scale, fake=lambda grads, factor: [*map(torch.empty_like, grads)]
)
op.autograd("linear_jsd", save=_save, backward=_differentiate)
