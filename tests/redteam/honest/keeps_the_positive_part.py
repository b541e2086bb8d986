"""The backward never sees the input: the forward hands it the positive part, a second output that
is marked as not differentiable.
"""

BASE = "relu2"
FILES = {
    "kernel.py": '''\
"""relu2 with its positive part kept: y = r², dx = 2·r·dy, r = max(x, 0)."""

from __future__ import annotations

import typing as t

import torch
import triton
import triton.language as tl

from workbench_kernels import op
from workbench_kernels.launch import device_of

ELEMENTS = 1 << 10


@triton.jit
def _fwd(Y, R, X, size, ELEMENTS: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    inside = i < size
    x = tl.load(X + i, inside, other=0)
    r = tl.where(x < 0, tl.zeros_like(x), x)
    tl.store(R + i, r, inside)
    wide = r.to(tl.float32)
    tl.store(Y + i, (wide * wide).to(Y.type.element_ty), inside)


@triton.jit
def _bwd(DX, DY, R, size, ELEMENTS: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    inside = i < size
    dy = tl.load(DY + i, inside, other=0).to(tl.float32)
    r = tl.load(R + i, inside, other=0).to(tl.float32)
    tl.store(DX + i, (2 * r * dy).to(DX.type.element_ty), inside)


def _launch(kernel: t.Any, *tensors: torch.Tensor) -> None:
    if not (size := tensors[0].numel()):
        return
    blocks, rest = divmod(size, ELEMENTS)
    with device_of(tensors[0]):
        kernel[blocks + bool(rest),](*tensors, size, ELEMENTS)


def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.contiguous()
    y, r = (torch.empty_like(x) for _ in range(2))
    _launch(_fwd, y, r, x)
    return y, r


def backward(dy: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    dy = dy.contiguous()
    dx = torch.empty_like(dy)
    _launch(_bwd, dx, dy, r)
    return dx


def _forward_fake(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _backward_fake(dy: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(r)


def _save(ctx: t.Any, inputs: t.Sequence[t.Any], output: t.Sequence[torch.Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _gradient(ctx: t.Any, dy: t.Optional[torch.Tensor], _: None) -> t.Optional[torch.Tensor]:
    if dy is None:
        return None
    return relu2_backward(dy, *ctx.saved_tensors)


_relu2 = op.define("relu2", forward, fake=_forward_fake)
relu2_backward = op.define("relu2_backward", backward, fake=_backward_fake)
op.autograd("relu2", save=_save, backward=_gradient)


def relu2(x: torch.Tensor) -> torch.Tensor:
    y, _positive = _relu2(x)
    return y
''',
}
