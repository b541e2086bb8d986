"""Another op: GLU, whose output is half as wide as its input; odd widths are refused, as by the
reference; a frozen dataclass that computes fields of its own in `__post_init__`.
"""

BASE = "glu"
FILES = {
    "spec.py": """\
import torch
import torch.nn.functional as F

from workbench_kernels.spec import OpSpec, Traffic


def glu(x: torch.Tensor) -> torch.Tensor:
    return F.glu(x, dim=-1)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="glu",
    tier=1,
    reference=glu,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    forward=Traffic(reads=1, writes=0.5),
    backward=Traffic(reads=1.5, writes=1),
    shapes=((1, 2), (4, 34), (70, 50), (2, 2100)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
from __future__ import annotations

from dataclasses import dataclass, field

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of


@triton.jit
def _slopes(a, b):
    """By the value and by the gate."""
    gate = tl.sigmoid(b)
    return gate, a * gate * (1.0 - gate)


@triton.jit
def _glu_fwd(Y, X, half, BLOCK: tl.constexpr):
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = part * BLOCK + tl.arange(0, BLOCK)
    here = X + row * 2 * half
    a = tl.load(here + at, mask=at < half, other=0.0).to(tl.float32)
    b = tl.load(here + half + at, mask=at < half, other=0.0).to(tl.float32)
    tl.store(Y + row * half + at, (a * tl.sigmoid(b)).to(Y.dtype.element_ty), mask=at < half)


@triton.jit
def _glu_bwd(DX, DY, X, half, BLOCK: tl.constexpr):
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = part * BLOCK + tl.arange(0, BLOCK)
    here, there = X + row * 2 * half, DX + row * 2 * half
    dy = tl.load(DY + row * half + at, mask=at < half, other=0.0).to(tl.float32)
    a = tl.load(here + at, mask=at < half, other=0.0).to(tl.float32)
    b = tl.load(here + half + at, mask=at < half, other=0.0).to(tl.float32)
    by_value, by_gate = _slopes(a, b)
    tl.store(there + at, (dy * by_value).to(DX.dtype.element_ty), mask=at < half)
    tl.store(there + half + at, (dy * by_gate).to(DX.dtype.element_ty), mask=at < half)


@dataclass(frozen=True)
class Plan:
    """Programs and blocks for rows of so many pairs; what follows from them is computed once."""

    rows: int
    half: int
    block: int = field(init=False)
    grid: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        block = max(16, min(1024, triton.next_power_of_2(self.half)))
        object.__setattr__(self, "block", block)
        object.__setattr__(self, "grid", (self.rows, triton.cdiv(self.half, block)))

    @classmethod
    def of(cls, x: Tensor) -> Plan:
        return cls(rows=x.numel() // x.shape[-1], half=x.shape[-1] // 2)


def forward(x: Tensor) -> Tensor:
    x = x.contiguous()
    plan = Plan.of(x)
    y = x.new_empty((*x.shape[:-1], plan.half))
    if plan.rows:
        with device_of(x):
            _glu_fwd[plan.grid](y, x, plan.half, BLOCK=plan.block)
    return y


def backward(dy: Tensor, x: Tensor) -> Tensor:
    dy, x = dy.contiguous(), x.contiguous()
    plan = Plan.of(x)
    dx = torch.empty_like(x)
    if plan.rows:
        with device_of(x):
            _glu_bwd[plan.grid](dx, dy, x, plan.half, BLOCK=plan.block)
    return dx


def _forward_fake(x: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], x.shape[-1] // 2))


def _backward_fake(dy: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


glu = op.define("glu", forward, fake=_forward_fake)
glu_backward = op.define("glu_backward", backward, fake=_backward_fake)
op.autograd(
    "glu",
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    backward=lambda ctx, dy: glu_backward(dy, *ctx.saved_tensors),
)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

from workbench_kernels.launch import check, check_width

from . import kernel


def glu(x: Tensor) -> Tensor:
    """The first half of each row times the sigmoid of the second."""
    check("glu", x=x)
    check_width("glu", "x", x)
    if (width := x.size(-1)) % 2:
        raise ValueError(f"glu: rows of {width} have no halves")
    return kernel.glu(x)


class Glu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return glu(x)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.glu.spec import SPEC
from workbench_kernels.glu.wrapper import Glu, glu


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, glu, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, glu, layout)


def test_op():
    testing.check_torch_op(SPEC, glu)


def test_module():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float32)
    assert torch.equal(Glu()(*inputs), glu(*inputs))


def test_refusals():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float64)
    with pytest.raises(TypeError, match="glu"):
        glu(*inputs)


def test_odd_widths_are_refused():
    with pytest.raises(ValueError, match="halves"):
        glu(torch.ones(2, 3, device=testing.device()))
""",
}
