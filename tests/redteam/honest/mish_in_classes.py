"""Another op: mish by one exponential, without a hyperbolic tangent; kernels are static methods of
classes, which inherit how they are launched.
"""

BASE = "mish"
FILES = {
    "spec.py": """\
import torch
import torch.nn.functional as F

from workbench_kernels.spec import OpSpec, Traffic


def mish(x: torch.Tensor) -> torch.Tensor:
    return F.mish(x)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return (3.0 * torch.randn(rows, cols),)


SPEC = OpSpec(
    name="mish",
    tier=1,
    reference=mish,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 1), (3, 1000), (64, 50), (5, 2049)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
"""mish: x·tanh(softplus(x)), where tanh(log(1 + e)) = n / (n + 2) with n = e·(e + 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of


@triton.jit
def _numerator(x):
    e = tl.exp(tl.where(x > 20.0, 20.0, x))
    return e, e * (e + 2.0)


class Pass(ABC):
    """One direction: a kernel over all elements."""

    block: ClassVar[int] = 1024

    @staticmethod
    @abstractmethod
    def kernel() -> Any: ...

    @classmethod
    def run(cls, *ins: Tensor) -> Tensor:
        first, *rest = [t.contiguous() for t in ins]
        out = torch.empty_like(first)
        if n := out.numel():
            with device_of(out):
                cls.kernel()[(triton.cdiv(n, cls.block),)](out, first, *rest, n, BLOCK=cls.block)
        return out


class Forward(Pass):
    @staticmethod
    @triton.jit
    def _body(Y, X, n, BLOCK: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(X + at, mask=at < n, other=0.0).to(tl.float32)
        _, num = _numerator(x)
        y = tl.where(x > 20.0, x, x * (num / (num + 2.0)))
        tl.store(Y + at, y.to(Y.dtype.element_ty), mask=at < n)

    @staticmethod
    def kernel() -> Any:
        return Forward._body


class Backward(Pass):
    block = 512

    @staticmethod
    @triton.jit
    def _body(DX, DY, X, n, BLOCK: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        dy = tl.load(DY + at, mask=at < n, other=0.0).to(tl.float32)
        x = tl.load(X + at, mask=at < n, other=0.0).to(tl.float32)
        e, num = _numerator(x)
        t = num / (num + 2.0)
        rest = 4.0 * (num + 1.0) / ((num + 2.0) * (num + 2.0))  # 1 - t squared
        slope = t + x * rest * (e / (1.0 + e))
        dx = dy * tl.where(x > 20.0, 1.0 + (x - x), slope)  # as PyTorch: nan at inf
        tl.store(DX + at, dx.to(DX.dtype.element_ty), mask=at < n)

    @staticmethod
    def kernel() -> Any:
        return Backward._body


def forward(x: Tensor) -> Tensor:
    return Forward.run(x)


def backward(dy: Tensor, x: Tensor) -> Tensor:
    return Backward.run(dy, x)


def _like(t: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(t, memory_format=torch.contiguous_format)


def _fake(x: Tensor) -> Tensor:
    return _like(x)


def _fake_backward(dy: Tensor, x: Tensor) -> Tensor:
    return _like(dy)


mish = op.define("mish", forward, fake=_fake)
mish_backward = op.define("mish_backward", backward, fake=_fake_backward)
op.autograd(
    "mish",
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    backward=lambda ctx, dy: mish_backward(dy, *ctx.saved_tensors),
)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

from workbench_kernels.launch import check
from workbench_kernels.mish.kernel import mish as _mish


def mish(x: Tensor) -> Tensor:
    """x times the hyperbolic tangent of its softplus."""
    check("mish", x=x)
    return _mish(x)


class Mish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return mish(x)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.mish.spec import SPEC
from workbench_kernels.mish.wrapper import Mish, mish


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, mish, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, mish, layout)


def test_op():
    testing.check_torch_op(SPEC, mish)


def test_module():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float32)
    assert torch.equal(Mish()(*inputs), mish(*inputs))


def test_refusals():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float64)
    with pytest.raises(TypeError, match="mish"):
        mish(*inputs)
""",
}
