"""Another op: log-softmax, maximum and sum found together by one reduction of pairs with a combine
function of its own; persistent programs; an output in float32 saved for the gradient.
"""

BASE = "log_softmax"
FILES = {
    "spec.py": """\
import torch

from workbench_kernels.spec import OpSpec, Traffic


def log_softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(x, dim=-1)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return (2.0 * torch.randn(rows, cols),)


SPEC = OpSpec(
    name="log_softmax",
    tier=2,
    reference=log_softmax,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 1), (4, 33), (70, 40), (2, 3000)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of, multiprocessors

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _merge(m1, s1, m2, s2):
    """The maximum and the sum of two sets of numbers, from those of each."""
    m = tl.where((m1 > m2) | (m1 != m1), m1, m2)
    base = tl.where(m == float("-inf"), 0.0, m)
    return m, s1 * tl.exp2((m1 - base) * LOG2E) + s2 * tl.exp2((m2 - base) * LOG2E)


@triton.jit
def _fwd(Y, X, n_rows, n_cols, BLOCK: tl.constexpr):
    for row in tl.range(tl.program_id(0), n_rows, tl.num_programs(0)):
        base = row.to(tl.int64) * n_cols
        at = tl.arange(0, BLOCK)
        most = tl.full([BLOCK], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        for start in range(0, n_cols, BLOCK):
            ok = start + at < n_cols
            x = tl.load(X + base + start + at, mask=ok, other=float("-inf")).to(tl.float32)
            most, total = _merge(most, total, x, tl.where(ok, 1.0, 0.0))
        top, all_of_it = tl.reduce((most, total), 0, _merge)
        rest = tl.log2(all_of_it) * LN2
        for start in range(0, n_cols, BLOCK):
            ok = start + at < n_cols
            x = tl.load(X + base + start + at, mask=ok, other=0.0).to(tl.float32)
            tl.store(Y + base + start + at, (x - top - rest).to(Y.dtype.element_ty), mask=ok)


@triton.jit
def _bwd(DX, DY, Y, n_rows, n_cols, BLOCK: tl.constexpr):
    for row in tl.range(tl.program_id(0), n_rows, tl.num_programs(0)):
        base = row.to(tl.int64) * n_cols
        at = tl.arange(0, BLOCK)
        total = tl.zeros([BLOCK], tl.float32)
        for start in range(0, n_cols, BLOCK):
            ok = start + at < n_cols
            total += tl.load(DY + base + start + at, mask=ok, other=0.0).to(tl.float32)
        given = tl.sum(total, 0)
        for start in range(0, n_cols, BLOCK):
            ok = start + at < n_cols
            dy = tl.load(DY + base + start + at, mask=ok, other=0.0).to(tl.float32)
            y = tl.load(Y + base + start + at, mask=ok, other=0.0).to(tl.float32)
            dx = dy - tl.exp2(y * LOG2E) * given
            tl.store(DX + base + start + at, dx.to(DX.dtype.element_ty), mask=ok)


def _plan(x: Tensor) -> tuple[tuple[int], dict[str, int]]:
    rows, cols = x.numel() // x.shape[-1], x.shape[-1]
    block = min(2048, max(32, triton.next_power_of_2(cols)))
    return (min(rows, 8 * multiprocessors(x)),), {"n_rows": rows, "n_cols": cols, "BLOCK": block}


def forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and in float32 for the gradient."""
    x = x.contiguous()
    y = torch.empty_like(x)
    exact = torch.empty_like(x, dtype=torch.float32)
    grid, sizes = _plan(x)
    if grid[0]:
        with device_of(x):
            _fwd[grid](exact, x, **sizes)
            _fwd[grid](y, x, **sizes)
    return y, exact


def backward(dy: Tensor, exact: Tensor) -> Tensor:
    dy = dy.contiguous()
    dx = torch.empty_like(dy)
    grid, sizes = _plan(dy)
    if grid[0]:
        with device_of(dy):
            _bwd[grid](dx, dy, exact, **sizes)
    return dx


def _forward_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, torch.empty_like(y, dtype=torch.float32)


def _backward_fake(dy: Tensor, exact: Tensor) -> Tensor:
    return torch.empty_like(dy, memory_format=torch.contiguous_format)


def _save(ctx, inputs, output):
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])
    ctx.set_materialize_grads(False)


def _grad(ctx, dy, _):
    return None if dy is None else log_softmax_backward(dy, *ctx.saved_tensors)


log_softmax = op.define("log_softmax", forward, fake=_forward_fake)
log_softmax_backward = op.define("log_softmax_backward", backward, fake=_backward_fake)
op.autograd("log_softmax", save=_save, backward=_grad)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

from workbench_kernels.launch import check, check_width

from .kernel import log_softmax as _op


def log_softmax(x: Tensor) -> Tensor:
    """The logarithm of the softmax over the last dimension."""
    check("log_softmax", x=x)
    check_width("log_softmax", "x", x)
    y, _ = _op(x)
    return y


class LogSoftmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return log_softmax(x)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.log_softmax.spec import SPEC
from workbench_kernels.log_softmax.wrapper import LogSoftmax, log_softmax


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, log_softmax, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, log_softmax, layout)


def test_op():
    testing.check_torch_op(SPEC, log_softmax)


def test_module():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float32)
    assert torch.equal(LogSoftmax()(*inputs), log_softmax(*inputs))


def test_refusals():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float64)
    with pytest.raises(TypeError, match="log_softmax"):
        log_softmax(*inputs)


def test_probabilities_sum_to_one():
    (x,) = testing.draw(SPEC, 4, 33, torch.float32)
    total = log_softmax(x).double().exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)
""",
}
