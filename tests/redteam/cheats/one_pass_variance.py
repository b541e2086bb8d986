"""The variance as the mean of squares less the square of the mean, in one pass: far from zero
nothing of it is left.
"""

BASE = "layer_norm"
REJECTED_BY = "magnitudes"
SAYS = r"far from zero"
FILES = {
    "spec.py": '''\
"""layer_norm: its reference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """(x − mean) / √(var + eps) · weight + bias, over the last dimension."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols) + 0.5, torch.rand(cols) + 0.5, torch.randn(cols)


SPEC = OpSpec(
    name="layer_norm",
    tier=2,
    reference=layer_norm,
    inputs=inputs,
    tensors=("x", "weight", "bias"),
    differentiable=("x", "weight", "bias"),
    parameters={"eps": 1e-5},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 8), (5, 33), (64, 100), (3, 1030)),
    sweep=((4096, 1024), (4096, 4096)),
)
''',
    "kernel.py": '''\
"""layer_norm with one pass.

The forward keeps mean and rstd of each row. The backward takes them, and adds the gradients of
weight and bias up in two stages.
"""

from __future__ import annotations

from itertools import compress
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import device_of
from workbench_kernels.partials import add_parts


class Plan(NamedTuple):
    rows: int
    cols: int
    block: int
    warps: int

    @classmethod
    def of(cls, x: Tensor) -> Plan:
        cols = x.shape[-1]
        block = triton.next_power_of_2(cols)
        return cls(x.numel() // cols, cols, block, min(max(block // 256, 1), 16))


@triton.jit
def _fwd(Y, MEAN, RSTD, X, W, B, eps, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(X + row * n_cols + cols, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x, axis=0) / n_cols
    rstd = 1 / tl.sqrt_rn(tl.sum(x * x, axis=0) / n_cols - mean * mean + eps)
    weight = tl.load(W + cols, mask=mask).to(tl.float32)
    bias = tl.load(B + cols, mask=mask).to(tl.float32)
    y = (x - mean) * rstd * weight + bias
    tl.store(Y + row * n_cols + cols, y, mask=mask)
    tl.store(MEAN + row, mean)
    tl.store(RSTD + row, rstd)


@triton.jit
def _bwd(DX, DW, DB, DY, X, W, MEAN, RSTD, n_rows, n_cols, BLOCK: tl.constexpr):
    pid, programs = tl.program_id(0), tl.num_programs(0)
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    weight = tl.load(W + cols, mask=mask, other=0.0).to(tl.float32)
    dweight = tl.zeros([BLOCK], tl.float32)
    dbias = tl.zeros([BLOCK], tl.float32)
    for row in range(pid, n_rows, programs):
        at = row.to(tl.int64) * n_cols + cols
        mean, rstd = tl.load(MEAN + row), tl.load(RSTD + row)
        x_hat = (tl.load(X + at, mask=mask, other=0.0).to(tl.float32) - mean) * rstd
        x_hat = tl.where(mask, x_hat, 0.0)
        dy = tl.load(DY + at, mask=mask, other=0.0).to(tl.float32)
        wdy = weight * dy
        c1 = tl.sum(x_hat * wdy, axis=0) / n_cols
        c2 = tl.sum(wdy, axis=0) / n_cols
        tl.store(DX + at, (wdy - (x_hat * c1 + c2)) * rstd, mask=mask)
        dweight += dy * x_hat
        dbias += dy
    tl.store(DW + pid * n_cols + cols, dweight, mask=mask)
    tl.store(DB + pid * n_cols + cols, dbias, mask=mask)


def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    x, weight, bias = (t.contiguous() for t in (x, weight, bias))
    plan = Plan.of(x)
    y = torch.empty_like(x)
    mean, rstd = (x.new_empty(x.shape[:-1], dtype=torch.float32) for _ in "mr")
    if plan.rows:
        with device_of(x):
            _fwd[(plan.rows,)](
                y, mean, rstd, x, weight, bias, eps, plan.cols,
                BLOCK=plan.block, num_warps=plan.warps,
            )
    return y, mean, rstd


def backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, needs: list[bool]
) -> list[Tensor]:
    dy, x, weight = dy.contiguous(), x.contiguous(), weight.contiguous()
    plan = Plan.of(x)
    programs = min(plan.rows, 32)
    dx = torch.empty_like(x)
    workspace = torch.empty((2, programs, plan.cols), dtype=torch.float32, device=x.device)
    dweight, dbias = workspace.unbind()
    if programs:
        with device_of(x):
            _bwd[(programs,)](
                dx, dweight, dbias, dy, x, weight, mean, rstd, plan.rows, plan.cols,
                BLOCK=plan.block, num_warps=plan.warps,
            )
    summed = [add_parts(part, weight.shape, weight.dtype) for part in (dweight, dbias)]
    return list(compress((dx, *summed), needs))


def _forward_fake(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    row = x.new_empty(x.shape[:-1], dtype=torch.float32)
    return x.new_empty(x.shape), row, torch.empty_like(row)


def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, needs: list[bool]
) -> list[Tensor]:
    shapes = x.shape, weight.shape, weight.shape
    return [x.new_empty(shape) for shape in compress(shapes, needs)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, *_ = inputs
    _, *statistics = output
    ctx.mark_non_differentiable(*statistics)
    ctx.save_for_backward(x, weight, *statistics)


def _differentiate(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *needs, _eps = ctx.needs_input_grad
    grads = layer_norm_backward(dy, *ctx.saved_tensors, needs)
    return (*op.spread(grads, needs), None)


layer_norm = op.define("layer_norm", forward, fake=_forward_fake)
layer_norm_backward = op.define("layer_norm_backward", backward, fake=_backward_fake)
op.autograd("layer_norm", save=_save, backward=_differentiate)
''',
    "wrapper.py": '''\
"""layer_norm for users."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width
from workbench_kernels.layer_norm import kernel


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Layer norm over the last dimension."""
    check("layer_norm", x=x, weight=weight, bias=bias)
    check_width("layer_norm", "x", x)
    for name, parameter in {"weight": weight, "bias": bias}.items():
        check_shape("layer_norm", name, parameter, x.shape[-1:])
    y, *_ = kernel.layer_norm(x, weight, bias, eps)
    return y


class LayerNorm(nn.Module):
    """Module form of :func:`layer_norm`."""

    __constants__ = ["normalized_shape", "eps"]
    normalized_shape: int
    eps: float

    def __init__(self, normalized_shape: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.normalized_shape = normalized_shape
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(normalized_shape))
        self.bias = nn.Parameter(torch.empty(normalized_shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return "{normalized_shape}, eps={eps}".format(**self.__dict__)
''',
    "test": '''\
"""layer_norm against its reference."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.layer_norm.spec import SPEC
from workbench_kernels.layer_norm.wrapper import LayerNorm, layer_norm


@pytest.fixture(params=testing.cases(SPEC), ids=str)
def case(request: pytest.FixtureRequest) -> testing.Case:
    return request.param


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


def test_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, layer_norm, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout: str) -> None:
    testing.check_layout(SPEC, layer_norm, layout)


def test_torch_op() -> None:
    testing.check_torch_op(SPEC, layer_norm)


def test_module() -> None:
    x, weight, bias = testing.draw(SPEC, 5, 33, torch.float32)
    module = LayerNorm(33).to(x.device)
    state = {"weight": weight, "bias": bias}
    module.load_state_dict(state)
    assert torch.equal(module(x), layer_norm(x, weight, bias))
    assert "eps" in repr(module)


def test_refuses() -> None:
    x, weight, bias = testing.draw(SPEC, 5, 33, torch.float32)
    with pytest.raises(ValueError, match="bias has shape"):
        layer_norm(x, weight, bias[1:])
    with pytest.raises(ValueError, match="weight has shape"):
        layer_norm(x, weight[1:], bias)
    with pytest.raises(TypeError):
        layer_norm(x, weight.half(), bias)
    with pytest.raises(ValueError, match="last dimension"):
        layer_norm(x[:, :0], weight[:0], bias[:0])
''',
}
