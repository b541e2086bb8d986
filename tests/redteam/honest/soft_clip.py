"""Another op: two keyword parameters and a flag, no weights; launch options in a TypedDict."""

BASE = "soft_clip"
FILES = {
    "spec.py": '''\
import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def soft_clip(x: Tensor, *, limit: float = 4.0, slope: float = 0.1, odd: bool = True) -> Tensor:
    """limit · tanh(x / limit) + slope · x, of |x| if not odd."""
    x = x if odd else x.abs()
    return limit * torch.tanh(x / limit) + slope * x


SPEC = OpSpec(
    name="soft_clip",
    tier=1,
    reference=soft_clip,
    inputs=lambda rows, cols: (3 * torch.randn(rows, cols),),
    tensors=("x",),
    differentiable=("x",),
    parameters={"limit": 4.0, "slope": 0.1, "odd": True},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 1), (2, 100), (31, 65), (2, 2500)),
    sweep=((8192, 4096),),
)
''',
    "kernel.py": '''\
"""soft_clip: y = limit · tanh(x / limit) + slope · x."""

from __future__ import annotations

import typing

import torch
import triton
import triton.language as tl

from workbench_kernels import numerics, op
from workbench_kernels.launch import device_of


class Options(typing.TypedDict, total=False):
    num_warps: int
    num_stages: int


def _options(n: int) -> Options:
    return Options(num_warps=4 if n < 1 << 20 else 8)


@triton.jit
def _fwd(y, x, limit, slope, n, ODD: tl.constexpr, B: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    v = tl.load(x + i, i < n, 0.0).to(tl.float32)
    if not ODD:
        v = tl.abs(v)
    out = limit * numerics.tanh(numerics.divide(v, limit)) + slope * v
    tl.store(y + i, out.to(y.dtype.element_ty), i < n)


@triton.jit
def _bwd(dx, dy, x, limit, slope, n, ODD: tl.constexpr, B: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    v = tl.load(x + i, i < n, 0.0).to(tl.float32)
    t = numerics.tanh(numerics.divide(v, limit))
    g = tl.load(dy + i, i < n, 0.0).to(tl.float32) * (1.0 - t * t + slope)
    if not ODD:
        g = g * numerics.sign(v)
    tl.store(dx + i, g.to(dx.dtype.element_ty), i < n)


def forward(x: torch.Tensor, limit: float, slope: float, odd: bool) -> torch.Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    n = x.numel()
    if n > 0:
        with device_of(x):
            _fwd[(triton.cdiv(n, 1024),)](y, x, limit, slope, n, ODD=odd, B=1024, **_options(n))
    return y


def backward(
    dy: torch.Tensor, x: torch.Tensor, limit: float, slope: float, odd: bool
) -> torch.Tensor:
    dy, x = dy.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    n = x.numel()
    if n > 0:
        with device_of(x):
            _bwd[(triton.cdiv(n, 1024),)](
                dx, dy, x, limit, slope, n, ODD=odd, B=1024, **_options(n)
            )
    return dx


def _like(x: torch.Tensor, *_: typing.Any) -> torch.Tensor:
    return x.new_empty(x.shape)


def _save(ctx: typing.Any, inputs: tuple[typing.Any, ...], output: torch.Tensor) -> None:
    x, *ctx.parameters = inputs
    ctx.save_for_backward(x)


def _differentiate(ctx: typing.Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    (x,) = ctx.saved_tensors
    return (soft_clip_backward(dy, x, *ctx.parameters), *[None] * len(ctx.parameters))


soft_clip = op.define("soft_clip", forward, fake=_like)
soft_clip_backward = op.define("soft_clip_backward", backward, fake=_like)
op.autograd("soft_clip", save=_save, backward=_differentiate)
''',
    "wrapper.py": '''\
"""soft_clip for users."""

import torch
from torch import Tensor

from workbench_kernels.launch import check

from .kernel import soft_clip as _soft_clip


def soft_clip(x: Tensor, *, limit: float = 4.0, slope: float = 0.1, odd: bool = True) -> Tensor:
    """Clip softly to ±limit, with a slope left outside; even instead of odd if asked."""
    check("soft_clip", x=x)
    if not limit > 0:
        raise ValueError(f"soft_clip: limit must be positive, not {limit}")
    return _soft_clip(x, limit, slope, odd)


class SoftClip(torch.nn.Module):
    def __init__(self, *, limit: float = 4.0, slope: float = 0.1, odd: bool = True) -> None:
        super().__init__()
        self.options = {"limit": limit, "slope": slope, "odd": odd}

    def forward(self, x: Tensor) -> Tensor:
        return soft_clip(x, **self.options)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.__class__.__name__}({inside})"
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.soft_clip.spec import SPEC
from workbench_kernels.soft_clip.wrapper import SoftClip, soft_clip


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_reference(case):
    testing.check_case(SPEC, soft_clip, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, soft_clip, layout)


def test_op():
    testing.check_torch_op(SPEC, soft_clip)


@pytest.mark.parametrize("odd", [True, False])
def test_symmetry(odd):
    (x,) = testing.draw(SPEC, 5, 65, torch.float32)
    mirrored = soft_clip(-x, odd=odd)
    assert torch.equal(soft_clip(x, odd=odd), -mirrored if odd else mirrored)


@pytest.mark.parametrize("odd", [True, False])
@pytest.mark.parametrize("limit, slope", [(1.0, 0.0), (0.5, 2.0), (30.0, -1.0)])
def test_parameters(limit, slope, odd):
    (x,) = testing.draw(SPEC, 5, 65, torch.float32)
    x.requires_grad_()
    options = dict(limit=limit, slope=slope, odd=odd)
    ours, theirs = soft_clip(x, **options), SPEC.reference(x, **options)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad(y.sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


def test_module():
    (x,) = testing.draw(SPEC, 5, 65, torch.float32)
    module = SoftClip(limit=2.0, odd=False)
    assert torch.equal(module(x), soft_clip(x, limit=2.0, odd=False))
    assert repr(module) == "SoftClip(limit=2.0, slope=0.1, odd=False)"


def test_refusals():
    (x,) = testing.draw(SPEC, 5, 65, torch.float32)
    with pytest.raises(TypeError):
        soft_clip(x.double())
    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="limit"):
            soft_clip(x, limit=limit)
""",
}
