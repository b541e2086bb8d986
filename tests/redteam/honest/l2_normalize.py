"""Another op: l2 normalisation with the norm's logarithm as a second output that has a
gradient too; persistent kernels over groups of rows.
"""

BASE = "l2_normalize"
FILES = {
    "spec.py": '''\
import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def l2_normalize(x: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """x / √(Σx² + eps), and the logarithm of that root for each row."""
    wide = x if x.dtype == torch.float64 else x.float()
    total = wide.square().sum(-1, keepdim=True) + eps
    return (wide * torch.rsqrt(total)).to(x.dtype), (0.5 * total.log()).squeeze(-1).to(x.dtype)


SPEC = OpSpec(
    name="l2_normalize",
    tier=2,
    reference=l2_normalize,
    inputs=lambda rows, cols: (torch.randn(rows, cols),),
    tensors=("x",),
    differentiable=("x",),
    parameters={"eps": 1e-6},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((2, 8), (9, 33), (130, 64), (2, 2500)),
    sweep=((8192, 4096),),
)
''',
    "kernel.py": '''\
"""l2_normalize: y = x · r and ℓ = −log r with r = 1/√(Σx² + eps).

dx = r · (dy − y · Σ(dy · y)) + dℓ · y · r
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import op
from workbench_kernels.launch import multiprocessors, row_tile
from workbench_kernels.tuning import ByWidth

ROWS = ByWidth({"elements": 1024, "per_thread": 16}, {8192: {"per_thread": 32}})


@contextmanager
def _current(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        with torch.cuda.device(device):
            yield
    else:
        yield


@triton.jit
def _fwd(Y, L, R, X, eps, rows, cols, BR: tl.constexpr, BC: tl.constexpr):
    c = tl.arange(0, BC)[None, :]
    blocks = tl.cdiv(rows, BR)
    for block in tl.range(tl.program_id(0), blocks, tl.num_programs(0), flatten=True):
        r = block * BR + tl.arange(0, BR)[:, None]
        at = r.to(tl.int64) * cols + c
        inside = (r < rows) & (c < cols)
        x = tl.load(X + at, inside, other=0.0).to(tl.float32)
        total = tl.sum(x * x, 1, keep_dims=True) + eps
        rsqrt = tl.rsqrt(total)
        tl.store(Y + at, (x * rsqrt).to(Y.dtype.element_ty), inside)
        tl.store(L + r, (0.5 * tl.log(total)).to(L.dtype.element_ty), r < rows)
        tl.store(R + r, rsqrt, r < rows)


@triton.jit
def _bwd(DX, DY, DL, X, R, rows, cols, BR: tl.constexpr, BC: tl.constexpr):
    c = tl.arange(0, BC)[None, :]
    for block in tl.range(tl.program_id(0), tl.cdiv(rows, BR), tl.num_programs(0)):
        r = block * BR + tl.arange(0, BR)[:, None]
        at = r.to(tl.int64) * cols + c
        inside = (r < rows) & (c < cols)
        rsqrt = tl.load(R + r, r < rows, other=0.0)
        y = tl.load(X + at, inside, other=0.0).to(tl.float32) * rsqrt
        dy = tl.load(DY + at, inside, other=0.0).to(tl.float32)
        dl = tl.load(DL + r, r < rows, other=0.0).to(tl.float32)
        inner = tl.sum(dy * y, 1, keep_dims=True)
        dx = rsqrt * (dy - y * (inner - dl))
        tl.store(DX + at, dx.to(DX.dtype.element_ty), inside)


def _launch(kernel: object, x: Tensor, *arguments: object) -> None:
    cols = x.shape[-1]
    rows = x.numel() // cols
    tile = row_tile(cols, ROWS)
    programs = min(4 * multiprocessors(x), triton.cdiv(rows, tile.block_rows))
    if programs == 0:
        return
    with _current(x.device):
        kernel[(programs,)](
            *arguments, rows, cols, BR=tile.block_rows, BC=tile.block_cols, num_warps=tile.num_warps
        )


def forward(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    x = x.contiguous()
    y, log = torch.empty_like(x), x.new_empty(x.shape[:-1])
    rsqrt = torch.empty_like(log, dtype=torch.float32)
    _launch(_fwd, x, y, log, rsqrt, x, eps)
    return y, log, rsqrt


def backward(dy: Tensor, dlog: Tensor, x: Tensor, rsqrt: Tensor) -> Tensor:
    dy, dlog, x = dy.contiguous(), dlog.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    _launch(_bwd, x, dx, dy, dlog, x, rsqrt)
    return dx


def _fake(x, eps):
    log = x.new_empty(x.shape[:-1])
    return x.new_empty(x.shape), log, torch.empty_like(log, dtype=torch.float32)


def _save(ctx, inputs, output):
    rsqrt = output[-1]
    ctx.save_for_backward(inputs[0], rsqrt)
    ctx.mark_non_differentiable(rsqrt)


def _differentiate(ctx, dy, dlog, _):
    return l2_normalize_backward(dy, dlog, *ctx.saved_tensors), None


l2_normalize = op.define("l2_normalize", forward, fake=_fake)
l2_normalize_backward = op.define(
    "l2_normalize_backward", backward, fake=lambda dy, dlog, x, rsqrt: x.new_empty(x.shape)
)
op.autograd("l2_normalize", save=_save, backward=_differentiate)
''',
    "wrapper.py": """\
import typing

from torch import Tensor, nn

from workbench_kernels.l2_normalize import kernel
from workbench_kernels.launch import check, check_width


def l2_normalize(x: Tensor, eps: float = 1e-6) -> typing.Tuple[Tensor, Tensor]:
    check("l2_normalize", x=x)
    check_width("l2_normalize", "x", x)
    y, log, _ = kernel.l2_normalize(x, eps)
    return y, log


class L2Normalize(nn.Module):
    def __init__(self, eps: float = 1e-6):
        super().__init__()
        self.register_buffer("_unused", None, persistent=False)
        self.eps = eps

    def forward(self, x: Tensor) -> typing.Tuple[Tensor, Tensor]:
        return l2_normalize(x, eps=self.eps)
""",
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.l2_normalize.spec import SPEC
from workbench_kernels.l2_normalize.wrapper import L2Normalize, l2_normalize


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, l2_normalize, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, l2_normalize, layout)


def test_op():
    testing.check_torch_op(SPEC, l2_normalize)


def test_zero_rows():
    x = torch.zeros(2, 8, device=testing.device(), requires_grad=True)
    y, log = l2_normalize(x, 0.25)
    assert not y.any() and log.exp().tolist() == pytest.approx([0.5, 0.5])
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.unique().tolist() == [2.0]


def test_module():
    (x,) = testing.draw(SPEC, 9, 33, torch.float32)
    for got, want in zip(L2Normalize(0.5)(x), l2_normalize(x, 0.5)):
        assert torch.equal(got, want)


def test_refusals():
    (x,) = testing.draw(SPEC, 9, 33, torch.float32)
    with pytest.raises(TypeError):
        l2_normalize(x.double())
    with pytest.raises(ValueError):
        l2_normalize(x[:, :0])
""",
}
