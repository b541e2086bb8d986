"""As flash-linear-attention writes SwiGLU: autotune over warps only, `tl.exp` by a helper, an
`input_guard` with a device context, recomputation of nothing, fused forward in the backward.
"""

BASE = "swiglu"
FILES = {
    "kernel.py": '''\
# -*- coding: utf-8 -*-
# Copyright (c) 2023-2025, Songlin Yang, Yu Zhang

import contextlib
import functools
from typing import Any, Callable, Dict, Optional, Tuple

import torch
import triton
import triton.language as tl


def contiguous(fn: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """
    A decorator to make sure all input tensors are contiguous and on the device that is current.
    """

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        contiguous_args = (i if not isinstance(i, torch.Tensor) else i.contiguous() for i in args)
        contiguous_kwargs: Dict[str, Any] = {
            k: (v if not isinstance(v, torch.Tensor) else v.contiguous()) for k, v in kwargs.items()
        }

        tensor: Optional[torch.Tensor] = None
        for arg in args:
            if isinstance(arg, torch.Tensor):
                tensor = arg
                break

        if tensor is not None and tensor.is_cuda:
            ctx = torch.cuda.device(tensor.device.index)
        else:
            ctx = contextlib.nullcontext()
        with ctx:
            return fn(*contiguous_args, **contiguous_kwargs)

    return wrapper


@triton.jit
def exp(x):
    return tl.exp(x.to(tl.float32))


@triton.jit
def sigmoid(x):
    # sigmoid(x) = 1 / (1 + exp(-|x|)), or exp(-|x|) over the same: no overflow
    e = exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.autotune(
    configs=[
        triton.Config({}, num_warps=num_warps, num_stages=num_stages)
        for num_warps in [2, 4, 8]
        for num_stages in [2, 3]
    ],
    key=['D'],
    reset_to_zero=[],
)
@triton.jit
def swiglu_fwd_kernel(
    x,
    y,
    z,
    T,
    D: tl.constexpr,
    B: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64)
    o = i * B + tl.arange(0, B)
    m = o < T

    b_x = tl.load(x + o, mask=m, other=0.).to(tl.float32)
    b_y = tl.load(y + o, mask=m, other=0.).to(tl.float32)
    b_z = b_x * sigmoid(b_x) * b_y
    tl.store(z + o, b_z.to(z.dtype.element_ty), mask=m)


@triton.heuristics({
    'HAS_DX': lambda args: args['dx'] is not None,
    'HAS_DY': lambda args: args['dy'] is not None,
})
@triton.autotune(
    configs=[triton.Config({}, num_warps=num_warps) for num_warps in [1, 2, 4, 8, 16]],
    key=['D', 'HAS_DX'],
)
@triton.jit
def swiglu_bwd_kernel(
    x,
    y,
    g,
    dx,
    dy,
    T,
    D: tl.constexpr,
    B: tl.constexpr,
    HAS_DX: tl.constexpr,
    HAS_DY: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64)
    o = i * B + tl.arange(0, B)
    m = o < T

    b_x = tl.load(x + o, mask=m, other=0.).to(tl.float32)
    b_y = tl.load(y + o, mask=m, other=0.).to(tl.float32)
    b_g = tl.load(g + o, mask=m, other=0.).to(tl.float32)
    b_s = sigmoid(b_x)
    if HAS_DX:
        b_dx = b_g * b_s * (1 + b_x * (1 - b_s)) * b_y
        tl.store(dx + o, b_dx.to(dx.dtype.element_ty), mask=m)
    if HAS_DY:
        b_dy = b_g * b_s * b_x
        tl.store(dy + o, b_dy.to(dy.dtype.element_ty), mask=m)


@torch.library.custom_op("workbench_kernels::swiglu", mutates_args=())
@contiguous
def swiglu_fwd(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    T, D = x.numel(), x.shape[-1] if x.ndim else 1
    z = torch.empty_like(x)
    if T > 0:
        swiglu_fwd_kernel[(triton.cdiv(T, 1024),)](x, y, z, T=T, D=D, B=1024)
    return z


@torch.library.custom_op("workbench_kernels::swiglu_bwd", mutates_args=())
@contiguous
def swiglu_bwd(
    x: torch.Tensor, y: torch.Tensor, g: torch.Tensor, need_x: bool, need_y: bool
) -> Tuple[torch.Tensor, torch.Tensor]:
    T, D = x.numel(), x.shape[-1] if x.ndim else 1
    dx = torch.empty_like(x) if need_x else None
    dy = torch.empty_like(y) if need_y else None
    if T > 0:
        swiglu_bwd_kernel[(triton.cdiv(T, 1024),)](x, y, g, dx, dy, T=T, D=D, B=1024)
    # a custom op returns tensors: an empty one stands for a gradient nobody asked for
    none = x.new_empty(0)
    return none if dx is None else dx, x.new_empty(0) if dy is None else dy


@swiglu_fwd.register_fake
def _(x, y):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@swiglu_bwd.register_fake
def _(x, y, g, need_x, need_y):
    return tuple(t.new_empty(t.shape if need else 0) for t, need in ((x, need_x), (y, need_y)))


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, g):
    need_x, need_y = ctx.needs_input_grad
    dx, dy = swiglu_bwd(*ctx.saved_tensors, g, need_x, need_y)
    return dx if need_x else None, dy if need_y else None


swiglu_fwd.register_autograd(_backward, setup_context=_setup_context)

swiglu = swiglu_fwd
''',
}
