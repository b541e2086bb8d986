"""Another op: Huber loss, element by element, as an autograd.Function of the old style without type
hints: attributes on ctx, None among what is saved, strides passed for any layout, errors raised
by helpers.
"""

BASE = "huber"
FILES = {
    "spec.py": """\
import torch
import torch.nn.functional as F

from workbench_kernels.spec import OpSpec, Traffic


def huber(x: torch.Tensor, target: torch.Tensor, delta: float = 1.0) -> torch.Tensor:
    return F.huber_loss(x, target, reduction="none", delta=delta)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return torch.randn(rows, cols) * 2, torch.randn(rows, cols)


SPEC = OpSpec(
    name="huber",
    tier=1,
    reference=huber,
    inputs=inputs,
    tensors=("x", "target"),
    differentiable=("x", "target"),
    parameters={"delta": 1.0},
    forward=Traffic(reads=2, writes=1),
    backward=Traffic(reads=3, writes=2),
    shapes=((1, 1), (5, 33), (64, 40), (2, 3000)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
"""Huber loss and its gradients; rows and columns by their strides, nothing is copied."""

import logging  # unused, from a draft
import math
from collections import namedtuple
from typing import List

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from workbench_kernels.launch import device_of

Matrix = namedtuple("Matrix", ["base", "rows", "cols", "row_stride", "col_stride"])
_BLOCKS = {torch.float32: 1024, torch.bfloat16: 2048, torch.float16: 2048}


@triton.jit
def _at(pointer, rows, cols, row_stride, col_stride):
    return pointer + rows.to(tl.int64) * row_stride + cols.to(tl.int64) * col_stride


@triton.jit
def huber_fwd_kernel(
    out_ptr, x_ptr, target_ptr, x_row, x_col, t_row, t_col, delta, n_cols, BLOCK: tl.constexpr
):
    tl.static_assert(BLOCK % 16 == 0, "blocks of 16")
    row = tl.program_id(axis=0)
    cols = tl.program_id(axis=1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(_at(x_ptr, row, cols, x_row, x_col), mask=mask).to(tl.float32)
    t = tl.load(_at(target_ptr, row, cols, t_row, t_col), mask=mask).to(tl.float32)
    d = x - t
    a = tl.abs(d)
    loss = tl.where(a <= delta, 0.5 * d * d, delta * (a - 0.5 * delta))
    tl.store(_at(out_ptr, row, cols, n_cols, 1), loss.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def huber_bwd_kernel(
    dx_ptr, dt_ptr, dout_ptr, x_ptr, target_ptr, d_row, d_col, x_row, x_col, t_row, t_col,
    delta, n_cols, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(axis=0)
    cols = tl.program_id(axis=1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(_at(x_ptr, row, cols, x_row, x_col), mask=mask).to(tl.float32)
    t = tl.load(_at(target_ptr, row, cols, t_row, t_col), mask=mask).to(tl.float32)
    dout = tl.load(_at(dout_ptr, row, cols, d_row, d_col), mask=mask).to(tl.float32)
    d = x - t
    slope = tl.where(tl.abs(d) <= delta, d, tl.where(d > 0, delta, -delta))
    # Keep NaN: a comparison with it is false, and would give -delta.
    slope = tl.where(d == d, slope, d)
    grad = dout * slope
    if dx_ptr is not None:
        tl.store(_at(dx_ptr, row, cols, n_cols, 1), grad.to(dx_ptr.dtype.element_ty), mask=mask)
    if dt_ptr is not None:
        tl.store(_at(dt_ptr, row, cols, n_cols, 1), -grad.to(dt_ptr.dtype.element_ty), mask=mask)


def _as_matrix(t):
    if t.dim() < 2:
        t = t.reshape(1, -1)
    elif t.dim() > 2:
        t = t.reshape(math.prod(t.shape[:-1]), t.shape[-1])
    return Matrix(t, *t.shape, *t.stride())


def _grid(m, block):
    return m.rows, max(1, triton.cdiv(m.cols, block))


def _launch(kernel, outputs, tensors, delta):
    """Runs a kernel over matrices, each followed by its strides where it is an input."""
    matrices = [_as_matrix(t) for t in tensors]
    first = matrices[-1]
    block = _BLOCKS.get(first.base.dtype, 1024)
    strides = [step for m in matrices for step in (m.row_stride, m.col_stride)]
    if first.base.numel() > 0:
        with device_of(first.base):
            kernel[_grid(first, block)](
                *outputs, *[m.base for m in matrices], *strides, delta, first.cols, BLOCK=block
            )


@torch.library.custom_op("workbench_kernels::huber_forward", mutates_args=())
def huber_forward(x: torch.Tensor, target: torch.Tensor, delta: float) -> torch.Tensor:
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _launch(huber_fwd_kernel, [out], [x, target], delta)
    return out


@torch.library.custom_op("workbench_kernels::huber_backward", mutates_args=())
def huber_backward(
    dout: torch.Tensor, x: torch.Tensor, target: torch.Tensor, delta: float, needs: List[bool]
) -> List[torch.Tensor]:
    grads = [
        torch.empty(t.shape, dtype=t.dtype, device=t.device) if need else None
        for t, need in zip((x, target), needs)
    ]
    _launch(huber_bwd_kernel, grads, [dout, x, target], delta)
    return [grad for grad in grads if grad is not None]


@huber_forward.register_fake
def _huber_forward_fake(x, target, delta):
    return x.new_empty(x.shape)


@huber_backward.register_fake
def _huber_backward_fake(dout, x, target, delta, needs):
    return [x.new_empty(x.shape) for need in needs if need]


class HuberFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, target, delta=1.0):
        ctx.save_for_backward(x, None, target)
        ctx.delta = delta
        return huber_forward(x, target, delta)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        (dout,) = grads
        x, _nothing, target = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[:2])
        found = iter(huber_backward(dout, x, target, ctx.delta, needs))
        return tuple(next(found) if need else None for need in needs) + (None,)


huber = HuberFunction.apply
''',
    "wrapper.py": '''\
from typing import NoReturn, Optional, Type

import torch
from torch import nn

from workbench_kernels.launch import check, check_shape

from .kernel import huber as _huber

__all__ = ["Huber", "huber"]


def _fail(message: str, *words: object, kind: Type[Exception] = ValueError) -> NoReturn:
    raise kind("huber: " + message % words)


def huber(x, target, delta: Optional[float] = 1.0):
    """Huber loss of each element; ``delta`` is where it turns linear.

    Parameters
    ----------
    x, target : Tensor
        Of one shape and dtype.
    delta : float
        Above 0.
    """
    if not all(map(torch.is_tensor, (x, target))):
        _fail("expected tensors, got %s", type(x).__name__, kind=TypeError)
    check("huber", x=x, target=target)
    check_shape("huber", "target", target, x.shape)
    if delta is None or not delta > 0:
        _fail("delta is %s", delta)
    return _huber(x, target, delta)


class Huber(nn.Module):
    """Module form of :func:`huber`."""

    __constants__ = ["delta"]
    delta: float

    def __init__(self, delta: float = 1.0) -> None:
        super(Huber, self).__init__()
        self.delta = delta

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def forward(self, x, target):
        return huber(x, target, delta=self.delta)

    def __repr__(self):
        return f"{type(self).__qualname__}(delta={self.delta})"
''',
    "test": """\
import pytest
import torch
import torch.nn.functional as F

from workbench_kernels import testing
from workbench_kernels.huber.spec import SPEC
from workbench_kernels.huber.wrapper import Huber, huber


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, huber, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, huber, layout)


def test_torch():
    testing.check_torch_op(SPEC, huber)


def test_sizes():
    testing.check_sizes(SPEC, huber)


@pytest.mark.parametrize("delta", [0.25, 1.0, 3.0])
def test_like_pytorch(delta):
    x, target = testing.draw(SPEC, 7, 65, torch.float32)
    torch.testing.assert_close(
        huber(x, target, delta), F.huber_loss(x, target, reduction="none", delta=delta)
    )


def test_special():
    x = torch.tensor([float("nan"), float("inf"), -3.0], device=testing.device())
    x.requires_grad_()
    y = huber(x, torch.zeros_like(x))
    y.sum().backward()
    torch.testing.assert_close(y.detach()[1:], torch.tensor([float("inf"), 2.5]).to(x.device))
    assert y[0].isnan() and x.grad[0].isnan() and x.grad[1:].tolist() == [1.0, -1.0]


def test_module():
    x, target = testing.draw(SPEC, 5, 33, torch.float32)
    module = Huber.from_config({"delta": 0.5})
    assert torch.equal(module(x, target), huber(x, target, 0.5))
    assert repr(module) == "Huber(delta=0.5)"


def test_refusals():
    x, target = testing.draw(SPEC, 5, 33, torch.float32)
    with pytest.raises(TypeError, match="float64"):
        huber(x.double(), target.double())
    with pytest.raises(TypeError, match="tensors"):
        huber(1.0, target)
    for delta in (-1.0, 0.0, None):
        with pytest.raises(ValueError, match="delta"):
            huber(x, target, delta)
""",
}
