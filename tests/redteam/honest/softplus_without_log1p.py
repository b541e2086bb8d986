"""Another op: softplus with both parameters; log(1 + e) corrected for what 1 + e rounds away
(Goldberg, 1991); launchers are closures that a function makes when the file is imported.
"""

BASE = "softplus"
FILES = {
    "spec.py": """\
import torch
import torch.nn.functional as F

from workbench_kernels.spec import OpSpec, Traffic


def softplus(x: torch.Tensor, beta: float = 1.0, threshold: float = 20.0) -> torch.Tensor:
    return F.softplus(x, beta, threshold)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return (3.0 * torch.randn(rows, cols),)


SPEC = OpSpec(
    name="softplus",
    tier=1,
    reference=softplus,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    parameters={"beta": 1.0, "threshold": 20.0},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 1), (3, 1000), (64, 50), (5, 2049)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of


@triton.jit
def _log1p(e):
    u = 1.0 + e
    return tl.where(u == 1.0, e, tl.log(u) * (e / tl.where(u == 1.0, 1.0, u - 1.0)))


@triton.jit
def _softplus_fwd(Y, X, beta, threshold, n, BLOCK: tl.constexpr = 1024):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(X + at, mask=at < n, other=0.0).to(tl.float32)
    z = x * beta
    soft = _log1p(tl.exp(tl.where(z > threshold, 0.0, z))) / beta
    tl.store(Y + at, tl.where(z > threshold, x, soft).to(Y.dtype.element_ty), mask=at < n)


@triton.jit
def _softplus_bwd(DX, DY, X, beta, threshold, n, BLOCK: tl.constexpr = 1024):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    dy = tl.load(DY + at, mask=at < n, other=0.0).to(tl.float32)
    z = tl.load(X + at, mask=at < n, other=0.0).to(tl.float32) * beta
    e = tl.exp(tl.where(z > threshold, 0.0, z))
    dx = tl.where(z > threshold, dy, dy * (e / (1.0 + e)))
    tl.store(DX + at, dx.to(DX.dtype.element_ty), mask=at < n)


def _launcher(kernel: Any, *, block: int = 1024) -> Callable[..., Tensor]:
    """A function that gives a new tensor, which the kernel fills from those it is given."""

    def launch(*tensors: Tensor, scalars: tuple[float, ...]) -> Tensor:
        ins = [t.contiguous() for t in tensors]
        out = torch.empty_like(ins[0])
        if n := out.numel():
            with device_of(out):
                kernel[triton.cdiv(n, block),](out, *ins, *scalars, n, BLOCK=block)
        return out

    return launch


_forward = _launcher(_softplus_fwd)
_backward = _launcher(_softplus_bwd, block=512)


def forward(x: Tensor, beta: float, threshold: float) -> Tensor:
    return _forward(x, scalars=(beta, threshold))


def backward(dy: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    return _backward(dy, x, scalars=(beta, threshold))


def _fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    x, *ctx.scalars = inputs
    ctx.save_for_backward(x)


def _grad(ctx: Any, dy: Tensor) -> Any:
    return softplus_backward(dy, *ctx.saved_tensors, *ctx.scalars), None, None


softplus = op.define("softplus", forward, fake=_fake)
softplus_backward = op.define("softplus_backward", backward, fake=_fake)
op.autograd("softplus", save=_save, backward=_grad)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

from workbench_kernels.launch import check

from . import kernel


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    check("softplus", x=x)
    return kernel.softplus(x, float(beta), float(threshold))


class Softplus(nn.Module):
    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Tensor) -> Tensor:
        return softplus(x, self.beta, self.threshold)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.softplus.spec import SPEC
from workbench_kernels.softplus.wrapper import Softplus, softplus


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, softplus, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, softplus, layout)


def test_op():
    testing.check_torch_op(SPEC, softplus)


def test_module():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float32)
    assert torch.equal(Softplus()(*inputs), softplus(*inputs))


def test_refusals():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float64)
    with pytest.raises(TypeError, match="softplus"):
        softplus(*inputs)
""",
}
