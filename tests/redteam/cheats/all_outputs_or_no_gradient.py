"""Of two outputs a caller uses one: then it has no gradient at all."""

BASE = "split_squares"
REJECTED_BY = "upstream gradients"
SAYS = r"output (0|1) alone: dx"
FILES = {
    "spec.py": '''\
from __future__ import annotations

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def split_squares(x: Tensor) -> tuple[Tensor, Tensor]:
    """The squares of the positive and of the negative part."""
    return torch.relu(x).square(), torch.relu(-x).square()


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="split_squares",
    tier=1,
    reference=split_squares,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    forward=Traffic(reads=1, writes=2),
    backward=Traffic(reads=3, writes=1),
    shapes=((1, 1), (3, 1000), (128, 100)),
    sweep=((8192, 4096),),
)
''',
    "kernel.py": '''\
"""The squares of the positive and of the negative part, in one pass."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of

BLOCK = 1024


@triton.jit
def _split_fwd(P, N, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    positive, negative = tl.where(x < 0.0, 0.0, x), tl.where(x > 0.0, 0.0, x)
    tl.store(P + offsets, (positive * positive).to(P.dtype.element_ty), mask=mask)
    tl.store(N + offsets, (negative * negative).to(N.dtype.element_ty), mask=mask)


@triton.jit
def _split_bwd(DX, DP, DN, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    dp = tl.load(DP + offsets, mask=mask, other=0.0).to(tl.float32)
    dn = tl.load(DN + offsets, mask=mask, other=0.0).to(tl.float32)
    positive, negative = tl.where(x < 0.0, 0.0, x), tl.where(x > 0.0, 0.0, x)
    dx = dp * (2.0 * positive) + dn * (2.0 * negative)
    tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)


def forward(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    positive, negative = torch.empty_like(x), torch.empty_like(x)
    n = x.numel()
    if n:
        with device_of(x):
            _split_fwd[(triton.cdiv(n, BLOCK),)](positive, negative, x, n, BLOCK=BLOCK)
    return positive, negative


def backward(dp: Tensor, dn: Tensor, x: Tensor) -> Tensor:
    dp, dn, x = dp.contiguous(), dn.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    n = x.numel()
    if n:
        with device_of(x):
            _split_bwd[(triton.cdiv(n, BLOCK),)](dx, dp, dn, x, n, BLOCK=BLOCK)
    return dx


def _forward_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _backward_fake(dp: Tensor, dn: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dp: Tensor | None, dn: Tensor | None) -> Tensor | None:
    if dp is None or dn is None:
        return None
    return split_squares_backward(dp, dn, *ctx.saved_tensors)


split_squares = op.define("split_squares", forward, fake=_forward_fake)
split_squares_backward = op.define("split_squares_backward", backward, fake=_backward_fake)
op.autograd("split_squares", save=_save, backward=_differentiate)
''',
    "wrapper.py": '''\
from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.launch import check
from workbench_kernels.split_squares import kernel


def split_squares(x: Tensor) -> tuple[Tensor, Tensor]:
    """The squares of the positive and of the negative part."""
    check("split_squares", x=x)
    return kernel.split_squares(x)


class SplitSquares(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return split_squares(x)
''',
    "test": """\
from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.split_squares.spec import SPEC
from workbench_kernels.split_squares.wrapper import SplitSquares, split_squares


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, split_squares, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layouts(layout: str) -> None:
    testing.check_layout(SPEC, split_squares, layout)


def test_op() -> None:
    testing.check_torch_op(SPEC, split_squares)


def test_module() -> None:
    (x,) = testing.draw(SPEC, 3, 100, torch.float32)
    for got, want in zip(SplitSquares()(x), split_squares(x)):
        assert torch.equal(got, want)


def test_refuses_float64() -> None:
    with pytest.raises(TypeError):
        split_squares(*testing.draw(SPEC, 2, 8, torch.float64))
""",
}
