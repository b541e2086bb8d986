"""Another op: running sums along rows by `tl.associative_scan`, a carry between blocks; linear,
so that each direction is the other's gradient, at any order; schemas as text.
"""

BASE = "cumsum"
FILES = {
    "spec.py": """\
import torch

from workbench_kernels.spec import OpSpec, Traffic


def cumsum(x: torch.Tensor) -> torch.Tensor:
    return torch.cumsum(x.float(), dim=-1).to(x.dtype)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="cumsum",
    tier=2,
    reference=cumsum,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=1, writes=1),
    shapes=((1, 1), (3, 1000), (64, 50), (5, 2049)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": """\
from typing import Any

import torch
import triton
import triton.language as tl

from workbench_kernels.launch import device_of

NAME = "workbench_kernels::cumsum"


@triton.jit
def _plus(a, b):
    return a + b


@triton.jit
def _scan_kernel(out_ptr, in_ptr, n_cols, REVERSE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * n_cols
    carry = 0.0
    for step in range(tl.cdiv(n_cols, BLOCK)):
        place = step * BLOCK + tl.arange(0, BLOCK)
        mask = place < n_cols
        at = n_cols - 1 - place if REVERSE else place
        values = tl.load(in_ptr + row + at, mask=mask, other=0.0).to(tl.float32)
        running = tl.associative_scan(values, 0, _plus) + carry
        tl.store(out_ptr + row + at, running.to(out_ptr.dtype.element_ty), mask=mask)
        carry += tl.sum(values, 0)


def _scan(x: torch.Tensor, *, reverse: bool) -> torch.Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        cols = x.shape[-1]
        block = max(16, min(1024, triton.next_power_of_2(cols)))
        with device_of(x):
            _scan_kernel[(x.numel() // cols,)](y, x, cols, REVERSE=reverse, BLOCK=block)
    return y


@torch.library.custom_op(NAME, mutates_args=(), schema="(Tensor x) -> Tensor")
def cumsum(x):
    return _scan(x, reverse=False)


@torch.library.custom_op(f"{NAME}_reversed", mutates_args=(), schema="(Tensor dy) -> Tensor")
def cumsum_reversed(dy):
    return _scan(dy, reverse=True)


def _fake(x):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


cumsum.register_fake(_fake)
cumsum_reversed.register_fake(_fake)


# A running sum is linear: each is the other's gradient, so that there are derivatives of any order.
@cumsum.register_autograd
def _(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
    return cumsum_reversed(dy)


@cumsum_reversed.register_autograd
def _(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
    return cumsum(dy)
""",
    "wrapper.py": '''\
import torch

from workbench_kernels.cumsum.kernel import cumsum as _cumsum
from workbench_kernels.launch import check, check_width


def cumsum(x: torch.Tensor) -> torch.Tensor:
    """Running sums along the last dimension, in float32 inside."""
    check("cumsum", x=x)
    check_width("cumsum", "x", x)
    return _cumsum(x)


class Cumsum(torch.nn.Module):
    """:func:`cumsum` as a module."""

    forward = staticmethod(cumsum)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.cumsum.spec import SPEC
from workbench_kernels.cumsum.wrapper import Cumsum, cumsum


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, cumsum, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, cumsum, layout)


def test_op():
    testing.check_torch_op(SPEC, cumsum)


def test_module():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float32)
    assert torch.equal(Cumsum()(*inputs), cumsum(*inputs))


def test_refusals():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float64)
    with pytest.raises(TypeError, match="cumsum"):
        cumsum(*inputs)


def test_gradient_counts_what_follows():
    x = torch.ones(2, 5, device=testing.device(), requires_grad=True)
    (dx,) = torch.autograd.grad(cumsum(x).sum(), x, create_graph=True)
    assert dx[0].tolist() == [5.0, 4.0, 3.0, 2.0, 1.0]
""",
}
