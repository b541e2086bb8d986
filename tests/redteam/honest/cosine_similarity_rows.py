"""Another op: cosine similarity of the rows of two tensors, one value a row; three sums in one
reduction of a tuple, all computed again for the gradient.
"""

BASE = "cosine"
FILES = {
    "spec.py": """\
import torch

from workbench_kernels.spec import OpSpec, Traffic


def cosine(a: torch.Tensor, b: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    kind = a.dtype
    a, b = a.float(), b.float()
    over = torch.rsqrt((a.square().sum(-1) + eps) * (b.square().sum(-1) + eps))
    return ((a * b).sum(-1) * over).to(kind)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols)


SPEC = OpSpec(
    name="cosine",
    tier=2,
    reference=cosine,
    inputs=inputs,
    tensors=("a", "b"),
    differentiable=("a", "b"),
    parameters={"eps": 1e-8},
    forward=Traffic(reads=2, writes=0),
    backward=Traffic(reads=2, writes=2),
    shapes=((1, 1), (4, 33), (70, 40), (2, 3000)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
"""cosine: per row, a·b / √((a·a + eps)·(b·b + eps))."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of


@triton.jit
def _three(a1, b1, c1, a2, b2, c2):
    return a1 + a2, b1 + b2, c1 + c2


@triton.jit
def _sums(A, B, base, n_cols, BLOCK: tl.constexpr):
    aa = tl.zeros([BLOCK], tl.float32)
    bb = tl.zeros([BLOCK], tl.float32)
    ab = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n_cols, BLOCK):
        at = start + tl.arange(0, BLOCK)
        a = tl.load(A + base + at, mask=at < n_cols, other=0.0).to(tl.float32)
        b = tl.load(B + base + at, mask=at < n_cols, other=0.0).to(tl.float32)
        aa, bb, ab = aa + a * a, bb + b * b, ab + a * b
    return tl.reduce((aa, bb, ab), 0, _three)


@triton.jit
def _cosine_fwd(Y, A, B, eps, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    aa, bb, ab = _sums(A, B, row * n_cols, n_cols, BLOCK)
    y = ab * tl.rsqrt(aa + eps) * tl.rsqrt(bb + eps)
    tl.store(Y + row, y.to(Y.dtype.element_ty))


@triton.jit
def _cosine_bwd(DA, DB, DY, A, B, eps, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    base = row * n_cols
    aa, bb, ab = _sums(A, B, base, n_cols, BLOCK)
    ra, rb = tl.rsqrt(aa + eps), tl.rsqrt(bb + eps)
    y = ab * ra * rb
    dy = tl.load(DY + row).to(tl.float32)
    for start in range(0, n_cols, BLOCK):
        at = start + tl.arange(0, BLOCK)
        ok = at < n_cols
        a = tl.load(A + base + at, mask=ok, other=0.0).to(tl.float32)
        b = tl.load(B + base + at, mask=ok, other=0.0).to(tl.float32)
        if DA is not None:
            da = dy * ra * (b * rb - a * ra * y)
            tl.store(DA + base + at, da.to(DA.dtype.element_ty), mask=ok)
        if DB is not None:
            db = dy * rb * (a * ra - b * rb * y)
            tl.store(DB + base + at, db.to(DB.dtype.element_ty), mask=ok)


def _rows_and_block(a: Tensor) -> tuple[int, int]:
    *lead, cols = a.shape
    rows = 1
    for size in lead:
        rows *= size
    return rows, max(16, min(2048, triton.next_power_of_2(cols)))


def forward(a: Tensor, b: Tensor, eps: float) -> Tensor:
    a, b = a.contiguous(), b.contiguous()
    y = a.new_empty(a.shape[:-1])
    rows, block = _rows_and_block(a)
    if rows:
        with device_of(a):
            _cosine_fwd[(rows,)](y, a, b, eps, a.shape[-1], BLOCK=block)
    return y


def backward(dy: Tensor, a: Tensor, b: Tensor, eps: float, needs: list[bool]) -> list[Tensor]:
    dy, a, b = (t.contiguous() for t in (dy, a, b))
    da, db = (torch.empty_like(t) if need else None for t, need in zip((a, b), needs))
    rows, block = _rows_and_block(a)
    if rows:
        with device_of(a):
            _cosine_bwd[(rows,)](da, db, dy, a, b, eps, a.shape[-1], BLOCK=block)
    return list(filter(lambda grad: grad is not None, (da, db)))


def _forward_fake(a: Tensor, b: Tensor, eps: float) -> Tensor:
    return a.new_empty(a.shape[:-1])


def _backward_fake(dy: Tensor, a: Tensor, b: Tensor, eps: float, needs: list[bool]) -> list[Tensor]:
    return [a.new_empty(a.shape) for need in needs if need]


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _grad(ctx: Any, dy: Tensor) -> Any:
    *needs, _ = ctx.needs_input_grad
    return *op.spread(cosine_backward(dy, *ctx.saved_tensors, ctx.eps, needs), needs), None


cosine = op.define("cosine", forward, fake=_forward_fake)
cosine_backward = op.define("cosine_backward", backward, fake=_backward_fake)
op.autograd("cosine", save=_save, backward=_grad)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width

from . import kernel


def cosine(a: Tensor, b: Tensor, eps: float = 1e-8) -> Tensor:
    """The cosine between the rows of two tensors; one value for each."""
    check("cosine", a=a, b=b)
    check_width("cosine", "a", a)
    check_shape("cosine", "b", b, a.shape)
    return kernel.cosine(a, b, eps)


class Cosine(nn.Module):
    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return cosine(a, b, self.eps)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.cosine.spec import SPEC
from workbench_kernels.cosine.wrapper import Cosine, cosine


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, cosine, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, cosine, layout)


def test_op():
    testing.check_torch_op(SPEC, cosine)


def test_module():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float32)
    assert torch.equal(Cosine()(*inputs), cosine(*inputs))


def test_refusals():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float64)
    with pytest.raises(TypeError, match="cosine"):
        cosine(*inputs)


def test_sizes():
    testing.check_sizes(SPEC, cosine)
""",
}
