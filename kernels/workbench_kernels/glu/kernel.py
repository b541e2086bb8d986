"""glu: y = act(gate) · up, of two tensors or of one that holds both

Forward, with g and u as they are or, where there is a limit, g = min(gate, limit) and
u = clamp(up, ±limit):
    y = act(g) · (u + up_offset)

Backward:
    dgate = dy · (u + up_offset) · act'(g), 0 where gate > limit
    dup   = dy · act(g), 0 where |up| > limit

Activations and their slopes:
    silu       g · s                 s · (1 + alpha · g · (1 − s)), with s = σ(alpha · g)
    gelu       g · Φ(g)              Φ(g) + g · φ(g), with φ the density of Φ
    gelu_tanh  g · s                 s · (1 + g · (1 − s) · z'), with s = σ(z) = (1 + tanh(z/2)) / 2
                                     and z = √(8/π) · (g + 0.044715 · g³)
    relu       max(g, 0)             1, 0 where g ≤ 0
    relu2      max(g, 0)²            2 · g, 0 where g ≤ 0

gate, up, y: float32, bfloat16 or float16; arithmetic in float32.
Full-size transfers: forward reads 2 and writes 1, backward reads 3 and writes 2; in place, where
gradients lie over what they are of, it makes y again and writes 3.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op
from workbench_kernels.jit import jit
from workbench_kernels.launch import cdiv, column_tile, device_of
from workbench_kernels.tuning import Fixed


@triton.jit
def _activate(g, alpha, ACTIVATION: tl.constexpr):
    """The activation of g and its slope there."""
    if ACTIVATION == "silu":
        s = tl.sigmoid(alpha * g)
        value = g * s
        slope = s * (1.0 + alpha * g * (1.0 - s))
    elif ACTIVATION == "gelu":
        below = 0.5 * (1.0 + tl.erf(g * 0.7071067811865476))
        value = g * below
        slope = below + g * (0.3989422804014327 * tl.exp(-0.5 * g * g))
    elif ACTIVATION == "gelu_tanh":
        z = 1.5957691216057308 * (g + 0.044715 * g * g * g)
        s = tl.sigmoid(z)
        value = g * s
        # Not 1 − s: what that loses where s is near 1, the factors behind it make ten times larger.
        slope = s * (1.0 + g * tl.sigmoid(-z) * (1.5957691216057308 * (1.0 + 0.134145 * g * g)))
    elif ACTIVATION == "relu":
        value = tl.where(g <= 0.0, 0.0, g)
        slope = 1.0
    else:
        value = tl.where(g <= 0.0, 0.0, g * g)
        slope = 2.0 * g
    return value, slope


@triton.jit
def _place(n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """The program's rows, which of them there are, and its first column."""
    across = tl.cdiv(n_cols, BLOCK_COLS)
    program = tl.program_id(0).to(tl.int64)
    rows = (program // across) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    return rows, rows < n_rows, (program % across) * BLOCK_COLS


@triton.jit
def _load(GATE, UP, row_mask, first, n_cols, BLOCK_COLS: tl.constexpr, INTERLEAVED: tl.constexpr):
    """gate and up of some columns: [BLOCK_ROWS, BLOCK_COLS]."""
    if INTERLEAVED:
        # One wide load, for every other column would be half of what memory sends.
        cols = 2 * first + tl.arange(0, 2 * BLOCK_COLS)[None, :]
        both = tl.load(GATE + cols, mask=row_mask & (cols < 2 * n_cols), other=0.0)
        gate, up = tl.split(tl.reshape(both, (both.shape[0], BLOCK_COLS, 2)))
    else:
        cols = first + tl.arange(0, BLOCK_COLS)[None, :]
        mask = row_mask & (cols < n_cols)
        gate = tl.load(GATE + cols, mask=mask, other=0.0)
        up = tl.load(UP + cols, mask=mask, other=0.0)
    return gate.to(tl.float32), up.to(tl.float32)


@jit(do_not_specialize=["n_rows"])
def _glu_fwd(
    Y,
    GATE,
    UP,
    n_rows,
    n_cols,
    gate_stride,
    up_stride,
    limit,
    alpha,
    up_offset,
    ACTIVATION: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    rows, row_mask, first = _place(n_rows, n_cols, BLOCK_ROWS, BLOCK_COLS)
    GATE += rows * gate_stride
    UP += rows * up_stride
    g, u = _load(GATE, UP, row_mask, first, n_cols, BLOCK_COLS, INTERLEAVED)
    if limit is not None:
        g = numerics.minimum(g, limit)
        u = numerics.maximum(numerics.minimum(u, limit), -limit)
    value, _ = _activate(g, alpha, ACTIVATION)
    y = value * (u + up_offset)
    cols = first + tl.arange(0, BLOCK_COLS)[None, :]
    mask = row_mask & (cols < n_cols)
    tl.store(Y + rows * n_cols + cols, y.to(Y.dtype.element_ty), mask=mask)


@jit(do_not_specialize=["n_rows"])
def _glu_bwd(
    DGATE,
    DUP,
    Y,
    DY,
    GATE,
    UP,
    n_rows,
    n_cols,
    grad_stride,
    dy_stride,
    gate_stride,
    up_stride,
    limit,
    alpha,
    up_offset,
    ACTIVATION: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    rows, row_mask, first = _place(n_rows, n_cols, BLOCK_ROWS, BLOCK_COLS)
    cols = first + tl.arange(0, BLOCK_COLS)[None, :]
    mask = row_mask & (cols < n_cols)
    dy = tl.load(DY + rows * dy_stride + cols, mask=mask, other=0.0).to(tl.float32)
    GATE += rows * gate_stride
    UP += rows * up_stride
    gate, up = _load(GATE, UP, row_mask, first, n_cols, BLOCK_COLS, INTERLEAVED)
    g, u = gate, up
    if limit is not None:
        g = numerics.minimum(gate, limit)
        u = numerics.maximum(numerics.minimum(up, limit), -limit)
    value, slope = _activate(g, alpha, ACTIVATION)
    dgate = dy * (u + up_offset) * slope
    dup = dy * value
    # What does not pass has no gradient, be the rest infinite.
    if ACTIVATION == "relu" or ACTIVATION == "relu2":
        dgate = tl.where(gate <= 0.0, 0.0, dgate)
    if limit is not None:
        dgate = tl.where(gate <= limit, dgate, 0.0)
        dup = tl.where(tl.abs(up) <= limit, dup, 0.0)
    if INTERLEAVED:
        both = tl.join(dgate, dup)
        both = tl.reshape(both, (both.shape[0], 2 * BLOCK_COLS)).to(DGATE.dtype.element_ty)
        both_cols = 2 * first + tl.arange(0, 2 * BLOCK_COLS)[None, :]
        inside = row_mask & (both_cols < 2 * n_cols)
        tl.store(DGATE + rows * grad_stride + both_cols, both, mask=inside)
    else:
        at = rows * grad_stride + cols
        if DGATE is not None:
            tl.store(DGATE + at, dgate.to(DGATE.dtype.element_ty), mask=mask)
        if DUP is not None:
            tl.store(DUP + at, dup.to(DUP.dtype.element_ty), mask=mask)
    if Y is not None:
        y = value * (u + up_offset)
        tl.store(Y + rows * dy_stride + cols, y.to(Y.dtype.element_ty), mask=mask)


# With what the kernels are launched; tuning.py says what it means and what may be tried.
FORWARD = Fixed({"elements": 2048, "per_thread": 16, "columns": 1024})
BACKWARD = Fixed({"elements": 2048, "per_thread": 16, "columns": 1024})


def forward(
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    interleaved: bool,
    limit: float | None,
    alpha: float,
    up_offset: float,
) -> Tensor:
    """Launch the forward kernel over all elements."""
    y = _result(gate, up)
    if y.numel():
        gates, ups, *strides = _parts(gate, up, interleaved)
        n_rows, n_cols = _sizes(y)
        tile = column_tile(n_cols, FORWARD)
        with device_of(gate):
            _glu_fwd[_grid(n_rows, n_cols, tile.block_rows, tile.block_cols)](
                y,
                gates,
                ups,
                n_rows,
                n_cols,
                *strides,
                limit,
                alpha,
                up_offset,
                ACTIVATION=activation,
                INTERLEAVED=interleaved,
                BLOCK_ROWS=tile.block_rows,
                BLOCK_COLS=tile.block_cols,
                num_warps=tile.num_warps,
            )
    return y


def backward(
    dy: Tensor,
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    interleaved: bool,
    limit: float | None,
    alpha: float,
    up_offset: float,
    needs: list[bool],
) -> list[Tensor]:
    """The gradients that `needs` asks for, in the order of the inputs."""
    grads = [_empty_like(gate) if need else None for need in needs]
    dgate, dup = grads
    _launch_backward(
        dgate, dup, None, dy, gate, up, activation, interleaved, limit, alpha, up_offset
    )
    return [grad for grad in grads if grad is not None]


def backward_in_place(
    dy: Tensor,
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    interleaved: bool,
    limit: float | None,
    alpha: float,
    up_offset: float,
) -> None:
    """Write the gradients of gate and up over them, and y over its own. All are contiguous."""
    _launch_backward(gate, up, dy, dy, gate, up, activation, interleaved, limit, alpha, up_offset)


def _launch_backward(
    dgate: Tensor | None,
    dup: Tensor | None,
    y: Tensor | None,
    dy: Tensor,
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    interleaved: bool,
    limit: float | None,
    alpha: float,
    up_offset: float,
) -> None:
    """Launch the backward kernel over all elements; y lies as dy does."""
    if not dy.numel():
        return
    gates, ups, *strides = _parts(gate, up, interleaved)
    dys, dy_stride = _rows(dy)
    if up is None and dgate is not None:
        dgate, dup, _, _ = _parts(dgate, None, interleaved)
    n_rows, n_cols = _sizes(dy)
    tile = column_tile(n_cols, BACKWARD)
    with device_of(gate):
        _glu_bwd[_grid(n_rows, n_cols, tile.block_rows, tile.block_cols)](
            dgate,
            dup,
            y,
            dys,
            gates,
            ups,
            n_rows,
            n_cols,
            n_cols if up is not None else 2 * n_cols,
            dy_stride,
            *strides,
            limit,
            alpha,
            up_offset,
            ACTIVATION=activation,
            INTERLEAVED=interleaved,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )


def _parts(gate: Tensor, up: Tensor | None, interleaved: bool) -> tuple[Tensor, Tensor, int, int]:
    """Where the rows of gate and up begin, and how far apart they are; where both interleave in one
    tensor, they begin together.
    """
    gates, stride = _rows(gate)
    if up is not None:
        ups, up_stride = _rows(up)
        return gates, ups, stride, up_stride
    if interleaved:
        return gates, gates, stride, stride
    half = gates.shape[-1] // 2
    return gates, gates.narrow(-1, half, half), stride, stride


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """Memory that has the rows, and how far apart they are: its own if a stride leads from each to
    the next.
    """
    n_cols = _sizes(x)[1]
    if x.is_contiguous():
        return x, n_cols
    rows = x.reshape(-1, n_cols)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    return rows, rows.stride(0)


def _sizes(x: Tensor) -> tuple[int, int]:
    """How many rows there are, and columns of each."""
    n_cols = x.shape[-1] if x.dim() else 1
    return x.numel() // n_cols, n_cols


def _grid(n_rows: int, n_cols: int, block_rows: int, block_cols: int) -> tuple[int]:
    return (cdiv(n_rows, block_rows) * cdiv(n_cols, block_cols),)


def _result(gate: Tensor, up: Tensor | None) -> Tensor:
    """y, not filled yet."""
    if up is not None:
        return _empty_like(gate)
    return gate.new_empty((*gate.shape[:-1], gate.shape[-1] // 2))


def _empty_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _forward_fake(
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    interleaved: bool,
    limit: float | None,
    alpha: float,
    up_offset: float,
) -> Tensor:
    return _result(gate, up)


def _backward_fake(
    dy: Tensor,
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    interleaved: bool,
    limit: float | None,
    alpha: float,
    up_offset: float,
    needs: list[bool],
) -> list[Tensor]:
    return [_empty_like(gate) for need in needs if need]


def _in_place_fake(
    dy: Tensor,
    gate: Tensor,
    up: Tensor | None,
    activation: str,
    interleaved: bool,
    limit: float | None,
    alpha: float,
    up_offset: float,
) -> None:
    return None


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    gate, up, *ctx.options = inputs
    ctx.save_for_backward(gate, up)


def _differentiate(ctx: Any, dy: Tensor) -> Any:
    gate, up = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:2])
    grads = glu_backward(dy, gate, up, *ctx.options, needs)
    return *op.spread(grads, needs), *(None,) * 5


glu = op.define("glu", forward, fake=_forward_fake)
glu_backward = op.define("glu_backward", backward, fake=_backward_fake)
glu_backward_in_place = op.define(
    "glu_backward_in_place",
    backward_in_place,
    fake=_in_place_fake,
    mutates=("dy", "gate", "up"),
)
op.autograd("glu", save=_save, backward=_differentiate)
