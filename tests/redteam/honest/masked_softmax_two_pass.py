"""Another op: softmax at a temperature over what a boolean mask keeps; the sums of pieces of a row
are combined by a second kernel, by a monoid of maximum and sum; sizes in an enum and a dataclass.
"""

BASE = "masked_softmax"
FILES = {
    "spec.py": """\
import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def masked_softmax(x: Tensor, mask: Tensor, temperature: float = 2.0) -> Tensor:
    kept = (x.float() / temperature).masked_fill(~mask, -float("inf"))
    return torch.softmax(kept, -1).to(x.dtype)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    mask = torch.rand(rows, cols) < 0.7
    mask[:, 0] = True
    return torch.randn(rows, cols), mask


SPEC = OpSpec(
    name="masked_softmax",
    tier=2,
    reference=masked_softmax,
    inputs=inputs,
    tensors=("x", "mask"),
    differentiable=("x",),
    parameters={"temperature": 2.0},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 1), (9, 33), (40, 130), (3, 2500)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
"""masked_softmax: y = exp(x/T - lse) where the mask is true, else 0; dx = y (dy - Σ y dy) / T."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of

LOWEST: tl.constexpr = tl.constexpr(float("-inf"))


class Piece(enum.IntEnum):
    """Columns that one program reads."""

    NARROW = 128
    WIDE = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    rows: int
    cols: int
    piece: Piece

    @classmethod
    def of(cls, x: Tensor) -> Plan:
        cols = x.shape[-1]
        return cls(x.numel() // cols, cols, Piece.WIDE if cols > 1024 else Piece.NARROW)

    @property
    def pieces(self) -> int:
        return triton.cdiv(self.cols, self.piece.value)


@triton.jit
def _join(m1, s1, m2, s2):
    m = tl.maximum(m1, m2)
    a = tl.where(m1 == LOWEST, 0.0, tl.exp(m1 - m))
    b = tl.where(m2 == LOWEST, 0.0, tl.exp(m2 - m))
    return m, s1 * a + s2 * b


@triton.jit
def _scaled(X, MASK, at, ok, temperature):
    x = tl.load(X + at, mask=ok, other=LOWEST).to(tl.float32)
    kept = tl.load(MASK + at, mask=ok, other=0) != 0
    return tl.where(kept, x / temperature, LOWEST)


@triton.jit
def _partial(TOP, SUM, X, MASK, temperature, n_cols, n_pieces, BLOCK: tl.constexpr):
    row, piece = tl.program_id(0).to(tl.int64), tl.program_id(1)
    cols = piece * BLOCK + tl.arange(0, BLOCK)
    x = _scaled(X, MASK, row * n_cols + cols, cols < n_cols, temperature)
    top, total = tl.reduce((x, tl.where(x == LOWEST, 0.0, 1.0)), 0, _join)
    tl.store(TOP + row * n_pieces + piece, top)
    tl.store(SUM + row * n_pieces + piece, total)


@triton.jit
def _finish(Y, TOP, SUM, X, MASK, temperature, n_cols, n_pieces, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    top, total = tl.load(TOP + row * n_pieces), tl.load(SUM + row * n_pieces)
    for piece in tl.range(1, n_pieces, num_stages=1):
        at = row * n_pieces + piece
        top, total = _join(top, total, tl.load(TOP + at), tl.load(SUM + at))
    x = _scaled(X, MASK, row * n_cols + cols, cols < n_cols, temperature)
    y = tl.exp(x - top) / total
    tl.store(Y + row * n_cols + cols, y.to(Y.dtype.element_ty), mask=cols < n_cols)


@triton.jit
def _gradient(DX, DY, X, MASK, TOP, SUM, temperature, n_cols, n_pieces, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top, total = tl.load(TOP + row * n_pieces), tl.load(SUM + row * n_pieces)
    for piece in tl.range(1, n_pieces, num_stages=1):
        at = row * n_pieces + piece
        top, total = _join(top, total, tl.load(TOP + at), tl.load(SUM + at))
    inner = tl.zeros([BLOCK], tl.float32)
    for start in tl.range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        x = _scaled(X, MASK, row * n_cols + cols, cols < n_cols, temperature)
        dy = tl.load(DY + row * n_cols + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
        inner += dy * (tl.exp(x - top) / total)
    dot = tl.sum(inner, axis=0)
    for start in tl.range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        at = row * n_cols + cols
        ok = cols < n_cols
        x = _scaled(X, MASK, at, ok, temperature)
        dy = tl.load(DY + at, mask=ok, other=0.0).to(tl.float32)
        dx = (tl.exp(x - top) / total) * (dy - dot) / temperature
        dx = tl.where(tl.load(MASK + at, mask=ok, other=0) != 0, dx, 0.0)
        tl.store(DX + at, dx.to(DX.dtype.element_ty), mask=ok)


def forward(x: Tensor, mask: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    x, mask = x.contiguous(), mask.contiguous()
    plan = Plan.of(x)
    y = torch.empty_like(x)
    top, total = (
        x.new_empty((*x.shape[:-1], plan.pieces), dtype=torch.float32) for _ in range(2)
    )
    grid = (plan.rows, plan.pieces)
    if plan.rows:
        with device_of(x):
            for kernel, outputs in ((_partial, ()), (_finish, (y,))):
                kernel[grid](
                    *outputs, top, total, x, mask, temperature, plan.cols, plan.pieces,
                    BLOCK=int(plan.piece),
                )  # fmt: skip
    return y, top, total


def backward(
    dy: Tensor, x: Tensor, mask: Tensor, top: Tensor, total: Tensor, temperature: float
) -> Tensor:
    dy, x, mask = dy.contiguous(), x.contiguous(), mask.contiguous()
    plan = Plan.of(x)
    dx = torch.empty_like(x)
    if plan.rows:
        with device_of(x):
            _gradient[(plan.rows,)](
                dx, dy, x, mask, top, total, temperature, plan.cols, plan.pieces,
                BLOCK=int(plan.piece),
            )  # fmt: skip
    return dx


def _forward_fake(x: Tensor, mask: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    parts = (*x.shape[:-1], triton.cdiv(x.shape[-1], 1024 if x.shape[-1] > 1024 else 128))
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, x.new_empty(parts, dtype=torch.float32), x.new_empty(parts, dtype=torch.float32)


def _backward_fake(
    dy: Tensor, x: Tensor, mask: Tensor, top: Tensor, total: Tensor, temperature: float
) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, mask, ctx.temperature = inputs
    _, *sums = output
    ctx.save_for_backward(x, mask, *sums)
    ctx.mark_non_differentiable(*sums)


def _differentiate(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor, None, None]:
    return masked_softmax_backward(dy, *ctx.saved_tensors, ctx.temperature), None, None


masked_softmax = op.define("masked_softmax", forward, fake=_forward_fake)
masked_softmax_backward = op.define("masked_softmax_backward", backward, fake=_backward_fake)
op.autograd("masked_softmax", save=_save, backward=_differentiate)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

from workbench_kernels.launch import check, check_mask, check_shape, check_width
from workbench_kernels.masked_softmax import kernel


def masked_softmax(x: Tensor, mask: Tensor, temperature: float = 2.0) -> Tensor:
    """Softmax of each row at a temperature, over the columns that the mask keeps."""
    check("masked_softmax", x=x)
    check_width("masked_softmax", "x", x)
    check_mask("masked_softmax", x, mask=mask)
    check_shape("masked_softmax", "mask", mask, x.shape)
    return kernel.masked_softmax(x, mask, temperature)[0]


class MaskedSoftmax(nn.Module):
    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return masked_softmax(x, mask, self.temperature)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.masked_softmax.spec import SPEC
from workbench_kernels.masked_softmax.wrapper import MaskedSoftmax, masked_softmax


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, masked_softmax, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, masked_softmax, layout)


def test_torch_op():
    testing.check_torch_op(SPEC, masked_softmax)


def test_sizes():
    testing.check_sizes(SPEC, masked_softmax)


def test_rows_add_up_to_one():
    x, mask = testing.draw(SPEC, 5, 1500, torch.float32)
    mask[1, :1200] = False
    y = masked_softmax(x * 40, mask)
    torch.testing.assert_close(y.sum(-1), torch.ones(5, device=x.device))
    assert (y[~mask] == 0).all()


def test_module():
    x, mask = testing.draw(SPEC, 9, 33, torch.float32)
    assert torch.equal(MaskedSoftmax(0.5)(x, mask), masked_softmax(x, mask, 0.5))


def test_refusals():
    x, mask = testing.draw(SPEC, 9, 33, torch.float32)
    with pytest.raises(TypeError, match="float64"):
        masked_softmax(x.double(), mask)
    with pytest.raises(TypeError, match="int8"):
        masked_softmax(x, mask.to(torch.int8))
    with pytest.raises(ValueError, match="mask has shape"):
        masked_softmax(x, mask[:1])
    with pytest.raises(ValueError, match="empty"):
        masked_softmax(x[:, :0], mask[:, :0])
""",
}
