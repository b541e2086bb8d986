"""Another op: a residual is added and the sum normed; two outputs, both with gradients, of which a
caller may use one. As vLLM and Liger fuse it.
"""

BASE = "add_rms_norm"
FILES = {
    "spec.py": '''\
from __future__ import annotations

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """The norm of the sum, and the sum."""
    total = x + residual
    wide = total.float()
    rstd = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * rstd * weight.float()).to(x.dtype), total


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols), 1 + 0.1 * torch.randn(cols)


SPEC = OpSpec(
    name="add_rms_norm",
    tier=2,
    reference=add_rms_norm,
    inputs=inputs,
    tensors=("x", "residual", "weight"),
    differentiable=("x", "residual", "weight"),
    parameters={"eps": 1e-5},
    forward=Traffic(reads=2, writes=2),
    backward=Traffic(reads=3, writes=1),
    shapes=((1, 8), (5, 33), (50, 100), (2, 2051)),
    sweep=((4096, 4096),),
)
''',
    "kernel.py": '''\
"""Fused residual add and RMSNorm.

h = x + residual, rounded to the dtype, as the next layer reads it; y = h / rms(h) * weight.
dh = dy's part + the gradient of h itself; dx and dresidual are both dh.
"""

from typing import Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import device_of
from workbench_kernels.partials import add_parts


@triton.jit
def _add_norm_fwd(y_p, h_p, rstd_p, x_p, res_p, w_p, eps, M, N, BM: tl.constexpr, BN: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    ok = (m < M)[:, None] & (n < N)[None, :]
    at = m.to(tl.int64)[:, None] * N + n[None, :]
    h = tl.load(x_p + at, ok, 0.0).to(tl.float32) + tl.load(res_p + at, ok, 0.0).to(tl.float32)
    h = h.to(h_p.dtype.element_ty)
    tl.store(h_p + at, h, ok)
    h = h.to(tl.float32)
    ms = tl.div_rn(tl.sum(h * h, 1), N.to(tl.float32))
    rstd = tl.rsqrt(ms + eps)
    w = tl.load(w_p + n, n < N, 0.0).to(tl.float32)
    tl.store(y_p + at, (h * rstd[:, None] * w[None, :]).to(y_p.dtype.element_ty), ok)
    tl.store(rstd_p + m, rstd, m < M)


@triton.jit
def _add_norm_bwd(
    dh_p, dw_p, dy_p, dsum_p, h_p, w_p, rstd_p, M, N, BM: tl.constexpr, BN: tl.constexpr
):
    n = tl.arange(0, BN)
    w = tl.load(w_p + n, n < N, 0.0).to(tl.float32)[None, :]
    dw = tl.zeros((BM, BN), tl.float32)
    for m0 in range(tl.program_id(0) * BM, M, tl.num_programs(0) * BM):
        m = m0 + tl.arange(0, BM)
        ok = (m < M)[:, None] & (n < N)[None, :]
        at = m.to(tl.int64)[:, None] * N + n[None, :]
        h = tl.load(h_p + at, ok, 0.0).to(tl.float32)
        dy = tl.load(dy_p + at, ok, 0.0).to(tl.float32)
        rstd = tl.load(rstd_p + m, m < M, 0.0)[:, None]
        hat = h * rstd
        wdy = dy * w
        dh = (wdy - hat * tl.sum(wdy * hat, 1, keep_dims=True) / N) * rstd
        dh += tl.load(dsum_p + at, ok, 0.0).to(tl.float32)
        tl.store(dh_p + at, dh.to(dh_p.dtype.element_ty), ok)
        dw += dy * hat
    tl.store(dw_p + tl.program_id(0) * N + n, tl.sum(dw, 0), n < N)


_lib = torch.library.Library("workbench_kernels", "FRAGMENT")
_lib.define(
    "add_rms_norm(Tensor x, Tensor residual, Tensor weight, float eps)"
    " -> (Tensor, Tensor, Tensor)"
)
_lib.define(
    "add_rms_norm_backward(Tensor dy, Tensor dsum, Tensor h, Tensor weight, Tensor rstd)"
    " -> (Tensor, Tensor)"
)


def _blocks(n: int) -> Tuple[int, int]:
    wide = triton.next_power_of_2(n)
    return max(1, 1024 // wide), wide


def _forward(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float
) -> Tuple[Tensor, Tensor, Tensor]:
    x, residual, weight = x.contiguous(), residual.contiguous(), weight.contiguous()
    y, h = torch.empty_like(x), torch.empty_like(x)
    rstd = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    m, n = rstd.numel(), x.shape[-1]
    bm, bn = _blocks(n)
    if m != 0:
        with device_of(x):
            _add_norm_fwd[(triton.cdiv(m, bm),)](
                y, h, rstd, x, residual, weight, eps, m, n, BM=bm, BN=bn
            )
    return y, h, rstd


def _backward(
    dy: Tensor, dsum: Tensor, h: Tensor, weight: Tensor, rstd: Tensor
) -> Tuple[Tensor, Tensor]:
    dy, dsum, weight = dy.contiguous(), dsum.contiguous(), weight.contiguous()
    dh = torch.empty_like(h)
    m, n = rstd.numel(), h.shape[-1]
    bm, bn = _blocks(n)
    programs = min(triton.cdiv(m, bm), 8)
    parts = h.new_empty((programs, n), dtype=torch.float32)
    if programs:
        with device_of(h):
            _add_norm_bwd[(programs,)](
                dh, parts, dy, dsum, h, weight, rstd, m, n, BM=bm, BN=bn
            )
    return dh, add_parts(parts, weight.shape, weight.dtype)


for _key in ["CPU", "CUDA"]:
    _lib.impl("add_rms_norm", _forward, _key)
    _lib.impl("add_rms_norm_backward", _backward, _key)


@torch.library.register_fake("workbench_kernels::add_rms_norm", lib=_lib)
def _forward_fake(x, residual, weight, eps):
    rstd = x.new_empty(x.shape[:-1], dtype=torch.float32)
    return x.new_empty(x.shape), x.new_empty(x.shape), rstd


@torch.library.register_fake("workbench_kernels::add_rms_norm_backward", lib=_lib)
def _backward_fake(dy, dsum, h, weight, rstd):
    return torch.empty_like(h), weight.new_empty(weight.shape)


def _setup(ctx, inputs, output):
    _, _, weight, _ = inputs
    _, h, rstd = output
    ctx.mark_non_differentiable(rstd)
    ctx.save_for_backward(h, weight, rstd)


def _grad(ctx, dy: Tensor, dsum: Tensor, _drstd: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
    dh, dweight = torch.ops.workbench_kernels.add_rms_norm_backward(dy, dsum, *ctx.saved_tensors)
    grads = [dh, dh, dweight, None]
    return tuple(g if need else None for g, need in zip(grads, ctx.needs_input_grad))


def _refuse(ctx, *_):
    raise NotImplementedError("add_rms_norm: no second derivative")


torch.library.register_autograd(
    "workbench_kernels::add_rms_norm", _grad, setup_context=_setup, lib=_lib
)
torch.library.register_autograd("workbench_kernels::add_rms_norm_backward", _refuse, lib=_lib)
''',
    "wrapper.py": '''\
from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.add_rms_norm import kernel  # noqa: F401, registers the op
from workbench_kernels.launch import check, check_shape, check_width


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """(RMSNorm(x + residual) * weight, x + residual)"""
    check("add_rms_norm", x=x, residual=residual, weight=weight)
    check_width("add_rms_norm", "x", x)
    check_shape("add_rms_norm", "residual", residual, x.shape)
    check_shape("add_rms_norm", "weight", weight, x.shape[-1:])
    return torch.ops.workbench_kernels.add_rms_norm(x, residual, weight, eps)[:2]


class AddRmsNorm(nn.Module):
    def __init__(self, hidden: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        return add_rms_norm(x, residual, self.weight, self.eps)
''',
    "test": """\
from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.add_rms_norm.spec import SPEC
from workbench_kernels.add_rms_norm.wrapper import AddRmsNorm, add_rms_norm


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, add_rms_norm, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layouts(layout: str) -> None:
    testing.check_layout(SPEC, add_rms_norm, layout)


def test_one_output_used() -> None:
    x, residual, weight = (t.requires_grad_() for t in testing.draw(SPEC, 5, 33, torch.float32))
    (dx,) = torch.autograd.grad(add_rms_norm(x, residual, weight)[1].sum(), x)
    torch.testing.assert_close(dx, torch.ones_like(dx))


def test_op() -> None:
    testing.check_torch_op(SPEC, add_rms_norm)


def test_sizes() -> None:
    testing.check_sizes(SPEC, add_rms_norm)


def test_module() -> None:
    x, residual, _ = testing.draw(SPEC, 5, 33, torch.float32)
    module = AddRmsNorm(33).to(x.device)
    for got, want in zip(module(x, residual), add_rms_norm(x, residual, module.weight)):
        assert torch.equal(got, want)


def test_refusals() -> None:
    x, residual, weight = testing.draw(SPEC, 5, 33, torch.float32)
    with pytest.raises(TypeError):
        add_rms_norm(x.double(), residual.double(), weight.double())
    with pytest.raises(TypeError):
        add_rms_norm(x, residual.half(), weight)
    with pytest.raises(ValueError):
        add_rms_norm(x[:, :0], residual[:, :0], weight[:0])
""",
}
