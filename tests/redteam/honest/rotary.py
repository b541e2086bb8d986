"""Another op: rotary embedding by halves with tables of cosines and sines; even widths only, no row
is reduced, one kernel for both directions by the sign of the sine.
"""

BASE = "rope"
FILES = {
    "spec.py": '''\
import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + width / 2) of each row by the row's angles."""
    if x.shape[-1] % 2:
        raise ValueError("an odd width has no halves")
    left, right = x.chunk(2, -1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    angle = 6.3 * torch.rand(rows, cols // 2)
    return torch.randn(rows, cols), angle.cos(), angle.sin()


SPEC = OpSpec(
    name="rope",
    tier=1,
    reference=rope,
    inputs=inputs,
    tensors=("x", "cos", "sin"),
    differentiable=("x",),
    forward=Traffic(reads=2, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 2), (3, 8), (5, 34), (33, 128), (2, 4098)),
    sweep=((8192, 128),),
)
''',
    "kernel.py": '''\
"""Rotary position embedding, halves rotated: the gradient is the rotation back."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import device_of

MAX_BLOCK = 1024


@triton.heuristics({"BLOCK": lambda a: min(MAX_BLOCK, max(16, triton.next_power_of_2(a["half"])))})
@triton.jit
def _rotate(out, x, cos, sin, half, BACKWARD: tl.constexpr, BLOCK: tl.constexpr):
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = part * BLOCK + tl.arange(0, BLOCK)
    mask = i < half
    x += row * half * 2
    out += row * half * 2
    c = tl.load(cos + row * half + i, mask=mask).to(tl.float32)
    s = tl.load(sin + row * half + i, mask=mask).to(tl.float32)
    if BACKWARD:
        s = -s
    a = tl.load(x + i, mask=mask).to(tl.float32)
    b = tl.load(x + half + i, mask=mask).to(tl.float32)
    tl.store(out + i, (a * c - b * s).to(out.dtype.element_ty), mask=mask)
    tl.store(out + half + i, (b * c + a * s).to(out.dtype.element_ty), mask=mask)


@torch.library.custom_op("workbench_kernels::rope", mutates_args=())
def rotate(x: Tensor, cos: Tensor, sin: Tensor, backward: bool) -> Tensor:
    x, cos, sin = map(Tensor.contiguous, (x, cos, sin))
    out = torch.empty_like(x)
    half = x.shape[-1] // 2
    rows = cos.numel() // half
    if rows:

        def grid(meta):
            return rows, triton.cdiv(half, meta["BLOCK"])

        with device_of(x):
            _rotate[grid](out, x, cos, sin, half, BACKWARD=backward)
    return out


@rotate.register_fake
def _(x, cos, sin, backward):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup(ctx, inputs, output):
    _x, cos, sin, backward = inputs
    ctx.save_for_backward(cos, sin)
    ctx.backward = backward


def _backward(ctx, grad):
    # linear in x, so that its gradient has a gradient: itself, the other way round
    cos, sin = ctx.saved_tensors
    return rotate(grad, cos, sin, not ctx.backward), None, None, None


rotate.register_autograd(_backward, setup_context=_setup)
''',
    "wrapper.py": '''\
import torch

from workbench_kernels.launch import check, check_shape
from workbench_kernels.rope.kernel import rotate


def rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding. x: (..., width) with an even width, cos and sin: (..., width / 2).

    cos and sin are tables: they have no gradient.
    """
    check("rope", x=x, cos=cos, sin=sin)
    if x.ndim == 0 or x.shape[-1] % 2 or x.shape[-1] == 0:
        raise ValueError(f"rope: x has shape {tuple(x.shape)}; its last dimension must be even")
    half = (*x.shape[:-1], x.shape[-1] // 2)
    check_shape("rope", "cos", cos, half)
    check_shape("rope", "sin", sin, half)
    return rotate(x, cos.detach(), sin.detach(), False)


class Rope(torch.nn.Module):
    def forward(self, x, cos, sin):
        return rope(x, cos, sin)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.rope.spec import SPEC
from workbench_kernels.rope.wrapper import Rope, rope


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_reference(case):
    testing.check_case(SPEC, rope, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, rope, layout)


def test_op():
    testing.check_torch_op(SPEC, rope)


def test_keeps_lengths():
    x, cos, sin = testing.draw(SPEC, 5, 34, torch.float32)
    torch.testing.assert_close(rope(x, cos, sin).norm(dim=-1), x.norm(dim=-1))


def test_back_and_forth():
    x, cos, sin = testing.draw(SPEC, 5, 34, torch.float32)
    torch.testing.assert_close(rope(rope(x, cos, sin), cos, -sin), x)
    assert torch.equal(Rope()(x, cos, sin), rope(x, cos, sin))


def test_refusals():
    x, cos, sin = testing.draw(SPEC, 5, 34, torch.float32)
    for wrong in ((x[:, :33], cos, sin), (x, cos[:, :16], sin), (x, cos, sin[:4])):
        with pytest.raises(ValueError, match="rope: "):
            rope(*wrong)
    with pytest.raises(TypeError):
        rope(x, cos.half(), sin)
    with pytest.raises(TypeError):
        rope(x.double(), cos.double(), sin.double())
""",
}
