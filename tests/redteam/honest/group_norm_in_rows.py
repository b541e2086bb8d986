"""Another op: each row normalised in groups, their number a parameter that is a count; blocks
are cached by a function without type hints; widths that don't divide are refused.
"""

BASE = "group_rms"
FILES = {
    "spec.py": """\
import torch

from workbench_kernels.spec import OpSpec, Traffic


def group_rms(x: torch.Tensor, groups: int = 4) -> torch.Tensor:
    parts = x.float().unflatten(-1, (groups, -1))
    parts = parts * torch.rsqrt(parts.square().mean(-1, keepdim=True) + 1e-5)
    return parts.flatten(-2).to(x.dtype)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="group_rms",
    tier=2,
    reference=group_rms,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    parameters={"groups": 4},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 8), (4, 40), (70, 64), (3, 2104)),
    sweep=((4096, 4096), (8192, 8192)),
)
""",
    "kernel.py": '''\
from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of

EPS = tl.constexpr(1e-5)


@triton.jit
def _group_fwd(Y, RSTD, X, n_groups, size, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    group = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    at = tl.arange(0, BLOCK)
    ok = (group < n_groups)[:, None] & (at < size)[None, :]
    place = group.to(tl.int64)[:, None] * size + at[None, :]
    x = tl.load(X + place, mask=ok, other=0.0).to(tl.float32)
    rstd = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / size + EPS)
    tl.store(Y + place, (x * rstd[:, None]).to(Y.dtype.element_ty), mask=ok)
    tl.store(RSTD + group, rstd, mask=group < n_groups)


@triton.jit
def _group_bwd(DX, DY, X, RSTD, n_groups, size, GROUPS: tl.constexpr, BLOCK: tl.constexpr):
    group = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    at = tl.arange(0, BLOCK)
    ok = (group < n_groups)[:, None] & (at < size)[None, :]
    place = group.to(tl.int64)[:, None] * size + at[None, :]
    dy = tl.load(DY + place, mask=ok, other=0.0).to(tl.float32)
    x = tl.load(X + place, mask=ok, other=0.0).to(tl.float32)
    rstd = tl.load(RSTD + group, mask=group < n_groups, other=0.0)[:, None]
    unit = x * rstd
    along = tl.sum(dy * unit, axis=1)[:, None] / size
    tl.store(DX + place, (rstd * (dy - unit * along)).to(DX.dtype.element_ty), mask=ok)


@functools.lru_cache(maxsize=None)
def _blocks(size):
    block = triton.next_power_of_2(size)
    return {"GROUPS": max(1, min(64, 1024 // block)), "BLOCK": block}


@contextmanager
def _launching(kernel: Any, x: Tensor, n_groups: int) -> Iterator[Any]:
    """The kernel with its grid, on the tensor's device."""
    with device_of(x):
        yield kernel[lambda meta: (triton.cdiv(n_groups, meta["GROUPS"]),)]


def forward(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    y, rstd = torch.empty_like(x), x.new_empty((*x.shape[:-1], groups), dtype=torch.float32)
    size = x.shape[-1] // groups
    if n := rstd.numel():
        with _launching(_group_fwd, x, n) as launch:
            launch(y, rstd, x, n, size, **_blocks(size))
    return y, rstd


def backward(dy: Tensor, x: Tensor, rstd: Tensor) -> Tensor:
    dy, x = dy.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    size = x.shape[-1] // rstd.shape[-1]
    if n := rstd.numel():
        with _launching(_group_bwd, x, n) as launch:
            launch(dx, dy, x, rstd, n, size, **_blocks(size))
    return dx


def _forward_fake(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty((*x.shape[:-1], groups), dtype=torch.float32)


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(inputs[0], output[1])
    ctx.mark_non_differentiable(output[1])


def _grad(ctx: Any, dy: Tensor, _: Any) -> Any:
    return group_rms_backward(dy, *ctx.saved_tensors), None


group_rms = op.define("group_rms", forward, fake=_forward_fake)
group_rms_backward = op.define(
    "group_rms_backward", backward, fake=lambda dy, x, rstd: x.new_empty(x.shape)
)
op.autograd("group_rms", save=_save, backward=_grad)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

from workbench_kernels.launch import check, check_width

from . import kernel


def group_rms(x: Tensor, groups: int = 4) -> Tensor:
    """Each row in so many groups, each divided by its root mean square."""
    check("group_rms", x=x)
    check_width("group_rms", "x", x)
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"group_rms: {x.shape[-1]} columns don't make {groups} groups")
    return kernel.group_rms(x, groups)[0]


class GroupRms(nn.Module):
    def __init__(self, groups: int = 4) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return group_rms(x, self.groups)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.group_rms.spec import SPEC
from workbench_kernels.group_rms.wrapper import GroupRms, group_rms


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, group_rms, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, group_rms, layout)


def test_op():
    testing.check_torch_op(SPEC, group_rms)


def test_module():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float32)
    assert torch.equal(GroupRms()(*inputs), group_rms(*inputs))


def test_refusals():
    inputs = testing.draw(SPEC, *testing.small_shape(SPEC), torch.float64)
    with pytest.raises(TypeError, match="group_rms"):
        group_rms(*inputs)
""",
}
