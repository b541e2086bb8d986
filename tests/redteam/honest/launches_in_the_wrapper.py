"""The kernel file has kernels only; launches, registration and autograd are in the wrapper."""

BASE = "relu2"
FILES = {
    "kernel.py": '''\
"""relu2: the two kernels, y = relu(x)² and dx = dy · 2·relu(x)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def relu2_fwd(Y, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)


@triton.jit
def relu2_bwd(DX, DY, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(DX + offsets, (dy * (2.0 * relu)).to(DX.dtype.element_ty), mask=mask)
''',
    "wrapper.py": '''\
"""relu2 for users: the functional form and the module."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor, nn

from workbench_kernels import op
from workbench_kernels.launch import check, device_of
from workbench_kernels.relu2.kernel import relu2_bwd, relu2_fwd

BLOCK = 1024


def _forward(x: Tensor) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    if n := x.numel():
        with device_of(x):
            relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
    return y


def _backward(dy: Tensor, x: Tensor) -> Tensor:
    dy, x = dy.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    if n := x.numel():
        with device_of(x):
            relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)
    return dx


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> Tensor:
    return _relu2_backward(dy, *ctx.saved_tensors)


_relu2 = op.define("relu2", _forward, fake=_like)
_relu2_backward = op.define("relu2_backward", _backward, fake=lambda dy, x: _like(x))
op.autograd("relu2", save=_save, backward=_differentiate)


def relu2(x: Tensor) -> Tensor:
    """The square of the positive part, y = relu(x)².

    x: any shape, float32, bfloat16 or float16, on a GPU. Returns the same shape and dtype.

    Raises:
        TypeError: an unsupported dtype.
        ValueError: a tensor that is not on a GPU.
    """
    check("relu2", x=x)
    return _relu2(x)


class Relu2(nn.Module):
    """Module form of :func:`relu2`."""

    def forward(self, x: Tensor) -> Tensor:
        return relu2(x)
''',
}
