"""A leaky relu as the larger of x and slope·x: wrong for slopes above 1."""

BASE = "leaky_relu"
REJECTED_BY = "parameters"
SAYS = r"negative_slope=2\.\d+: "
FILES = {
    "wrapper.py": '''\
"""leaky_relu for users: the functional form and the module."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.launch import check
from workbench_kernels.leaky_relu import kernel


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """y = x for x > 0, negative_slope·x otherwise

    x: any shape; float32, bfloat16 or float16; on a GPU.
    Returns y: the same shape; dtype of x.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16.
        ValueError: a tensor that is not on a GPU.
    """
    check("leaky_relu", x=x)
    return kernel.leaky_relu(x, negative_slope)


class LeakyRelu(nn.Module):
    """Module form of :func:`leaky_relu`."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"
''',
    "spec.py": '''\
"""leaky_relu: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """y = x for x > 0, negative_slope·x otherwise"""
    return F.leaky_relu(x, negative_slope)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="leaky_relu",
    tier=1,
    reference=leaky_relu,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    parameters={"negative_slope": 0.01},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=(
        (1, 1),
        (1, 7),
        (3, 17),
        (1000, 1),
        (1, 128),
        (5, 127),
        (31, 33),
        (64, 64),
        (129, 63),
        (7, 1000),
        (2, 4097),
        (1, 33000),
    ),
    sweep=(
        (128, 4096),
        (1024, 4096),
        (8192, 4096),
        (8192, 14336),
    ),
)
''',
    "kernel.py": '''\
"""leaky_relu: y = x for x > 0, negative_slope·x otherwise

Forward:
    y = (x if x > 0 else negative_slope · x)

Backward:
    dx = (dy if x > 0 else negative_slope · dy)

x, y: float32, bfloat16 or float16; arithmetic in float32.
Full-size transfers: forward reads 1 and writes 1, backward reads 2 and writes 1.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, op
from workbench_kernels.launch import device_of

# Elements per program: 16 per thread at 4 warps, so that several 16-byte loads are in flight.
BLOCK = 2048


@triton.jit
def _leaky_relu_fwd(Y, X, negative_slope, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    y = numerics.maximum(x, negative_slope * x)
    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)


@triton.jit
def _leaky_relu_bwd(DX, DY, X, negative_slope, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    dx = tl.where(x > 0.0, dy, negative_slope * dy)
    tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)


def forward(x: Tensor, negative_slope: float) -> Tensor:
    """Launch the forward kernel over all elements."""
    x = x.contiguous()
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    n = x.numel()
    grid = (triton.cdiv(n, BLOCK),)
    with device_of(x):
        _leaky_relu_fwd[grid](y, x, negative_slope, n, BLOCK=BLOCK)
    return y


def backward(dy: Tensor, x: Tensor, negative_slope: float) -> Tensor:
    """Launch the backward kernel over all elements."""
    dy, x = dy.contiguous(), x.contiguous()
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    n = x.numel()
    grid = (triton.cdiv(n, BLOCK),)
    with device_of(x):
        _leaky_relu_bwd[grid](dx, dy, x, negative_slope, n, BLOCK=BLOCK)
    return dx


def _forward_fake(x: Tensor, negative_slope: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward_fake(dy: Tensor, x: Tensor, negative_slope: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, negative_slope = inputs
    ctx.save_for_backward(x)
    ctx.negative_slope = negative_slope


def _differentiate(ctx: Any, dy: Tensor) -> Any:
    (x,) = ctx.saved_tensors
    grad = leaky_relu_backward(dy, x, ctx.negative_slope)
    return grad, None


leaky_relu = op.define("leaky_relu", forward, fake=_forward_fake)
leaky_relu_backward = op.define("leaky_relu_backward", backward, fake=_backward_fake)
op.autograd("leaky_relu", save=_save, backward=_differentiate)
''',
    "test": '''\
"""leaky_relu against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.leaky_relu.spec import SPEC
from workbench_kernels.leaky_relu.wrapper import LeakyRelu, leaky_relu


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, leaky_relu, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, leaky_relu, layout)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, leaky_relu)


def test_module_is_the_function() -> None:
    (x,) = testing.draw(SPEC, 3, 100, torch.float32)
    module = LeakyRelu()
    torch.testing.assert_close(module(x), leaky_relu(x), rtol=0, atol=0)


def test_refuses_float64() -> None:
    with pytest.raises(TypeError, match="leaky_relu: x is torch.float64"):
        leaky_relu(*testing.draw(SPEC, 2, 8, torch.float64))
''',
}
