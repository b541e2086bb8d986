"""As Liger writes RMSNorm: an `ensure_contiguous` decorator, casting modes as constexpr, a row per
program in the forward, rows per program by `math.ceil` in the backward, an autograd Function.
"""

BASE = "rms_norm"
FILES = {
    "kernel.py": '''\
"""
This file incorporates ideas of Unsloth's and Liger's RMSNorm. The structure is theirs: the forward
takes a row per program, the backward a group of rows per program and a partial dW of each group.
"""

import functools
import math
import operator

import torch
import triton
import triton.language as tl

_CASTING_MODE_NONE: tl.constexpr = tl.constexpr(-1)
_CASTING_MODE_LLAMA: tl.constexpr = tl.constexpr(0)
_CASTING_MODE_GEMMA: tl.constexpr = tl.constexpr(1)

_str_to_casting_mode = {
    "llama": _CASTING_MODE_LLAMA.value,
    "gemma": _CASTING_MODE_GEMMA.value,
    "none": _CASTING_MODE_NONE.value,
}


def ensure_contiguous(fn):
    @functools.wraps(fn)
    def wrapper(ctx, *args, **kwargs):
        def maybe_to_contiguous(x):
            return x.contiguous() if isinstance(x, torch.Tensor) else x

        args = [maybe_to_contiguous(arg) for arg in args]
        kwargs = {k: maybe_to_contiguous(v) for k, v in kwargs.items()}
        return fn(ctx, *args, **kwargs)

    return wrapper


def calculate_settings(n):
    # reference: https://github.com/unslothai/unsloth/blob/main/unsloth/kernels/utils.py

    MAX_FUSED_SIZE = 65536
    BLOCK_SIZE = triton.next_power_of_2(n)
    if BLOCK_SIZE > MAX_FUSED_SIZE:
        raise ValueError(
            f"Cannot launch Triton kernel since n = {n} exceeds the recommended Triton blocksize"
            f" = {MAX_FUSED_SIZE}."
        )

    num_warps = 4
    if BLOCK_SIZE >= 32768:
        num_warps = 32
    elif BLOCK_SIZE >= 8192:
        num_warps = 16
    elif BLOCK_SIZE >= 2048:
        num_warps = 8
    return BLOCK_SIZE, num_warps


@triton.jit
def _rms_norm_forward_kernel(
    Y_ptr,
    Y_row_stride,
    X_ptr,
    X_row_stride,
    W_ptr,
    W_row_stride,
    RSTD_ptr,
    RSTD_row_stride,
    n_cols,
    eps,
    offset,
    casting_mode: tl.constexpr,  # constexpr so the `if` blocks can be optimized out
    BLOCK_SIZE: tl.constexpr,
):
    """
    y_i = (x_i / (RMS)) * (offset + wi), RMS = sqrt(sum(x_i^2) / N)
    """
    row_idx = tl.program_id(0).to(tl.int64)
    col_offsets = tl.arange(0, BLOCK_SIZE)
    mask = col_offsets < n_cols

    y_base = Y_ptr + row_idx * Y_row_stride
    x_base = X_ptr + row_idx * X_row_stride
    rstd_base = RSTD_ptr + row_idx * RSTD_row_stride

    X_row = tl.load(x_base + col_offsets, mask=mask, other=0)
    X_row_dtype = X_row.dtype
    W_row = tl.load(W_ptr + col_offsets, mask=mask, other=0)

    # On Llama, only rstd is computed on fp32
    if casting_mode == _CASTING_MODE_LLAMA:
        X_row = X_row.to(tl.float32)

    # Gemma computes everything on fp32, and then casts back the output to the original dtype
    if casting_mode == _CASTING_MODE_GEMMA:
        W_row = W_row.to(tl.float32)
        X_row = X_row.to(tl.float32)

    mean_square = tl.sum(X_row * X_row, axis=0) / n_cols
    rstd = tl.math.rsqrt(mean_square + eps)

    # We can save time by caching rms with minimal memory overhead
    # because rms is much smaller compared to X_row, as rms is for each row.
    tl.store(rstd_base, rstd)

    X_row = X_row * rstd

    # On Llama, the multiplication with the weight is done on the original dtype
    if casting_mode == _CASTING_MODE_LLAMA:
        X_row = X_row.to(X_row_dtype)

    Y_row = X_row * (offset + W_row)

    if casting_mode == _CASTING_MODE_GEMMA:
        Y_row = Y_row.to(X_row_dtype)

    tl.store(y_base + col_offsets, Y_row, mask=mask)


@triton.jit
def _rms_norm_backward_kernel(
    dY_ptr,
    dY_row_stride,
    dX_ptr,
    dX_row_stride,
    X_ptr,
    X_row_stride,
    W_ptr,
    W_row_stride,
    RSTD_ptr,
    RSTD_row_stride,
    dW_ptr,
    dW_row_stride,
    n_rows,
    n_cols,
    offset,
    rows_per_program,
    BLOCK_SIZE: tl.constexpr,
):
    """
    dx = (1 / RMS) * [dy * (w + offset) - (1 / N) * (1 / RMS^2) * ((dy * (w + offset)) dot x) * x]
    dw = sum(dy * (x / RMS)). summation over BxT dimension
    """
    row_block_id = tl.program_id(0).to(tl.int64)
    row_start = row_block_id * rows_per_program
    row_end = min((row_block_id + 1) * rows_per_program, n_rows)
    col_offsets = tl.arange(0, BLOCK_SIZE)
    mask = col_offsets < n_cols

    dW_row = tl.zeros((BLOCK_SIZE,), dtype=tl.float32)
    W_row = tl.load(W_ptr + col_offsets, mask=mask, other=0.0).to(tl.float32)
    W_row = W_row + offset

    for row_idx in range(row_start, row_end):
        dY_row = tl.load(dY_ptr + row_idx * dY_row_stride + col_offsets, mask=mask, other=0.0)
        X_row = tl.load(X_ptr + row_idx * X_row_stride + col_offsets, mask=mask, other=0.0)
        rstd_row = tl.load(RSTD_ptr + row_idx * RSTD_row_stride)
        X_row = X_row.to(tl.float32)
        m = dY_row.to(tl.float32) * W_row

        dX_row = rstd_row * m
        dX_row += (rstd_row) * (
            -(1 / n_cols) * rstd_row * rstd_row * tl.sum(m * X_row, axis=0) * X_row
        )
        dW_row += dY_row.to(tl.float32) * (X_row * rstd_row)
        tl.store(
            dX_ptr + row_idx * dX_row_stride + col_offsets,
            dX_row.to(dX_ptr.dtype.element_ty),
            mask=mask,
        )

    tl.store(dW_ptr + row_block_id * dW_row_stride + col_offsets, dW_row, mask=mask)


@triton.jit
def _sum_groups_kernel(dW_ptr, parts_ptr, parts_row_stride, n_parts, n_cols, BLOCK: tl.constexpr):
    cols = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for part in range(n_parts):
        total += tl.load(parts_ptr + part * parts_row_stride + cols, mask=cols < n_cols, other=0.0)
    tl.store(dW_ptr + cols, total, mask=cols < n_cols)


def rms_norm_forward(X, W, eps, offset, casting_mode):
    shape = X.shape
    dim = shape[-1]
    X = X.view(-1, dim)
    n_rows, n_cols = X.shape
    BLOCK_SIZE, num_warps = calculate_settings(n_cols)

    Y = torch.empty((n_rows, n_cols), dtype=X.dtype, device=X.device)
    # RSTD is always fp32, whatever the casting mode
    RSTD = torch.empty(n_rows, dtype=torch.float32, device=X.device)

    # Check constraints.
    assert X.shape[1] == W.shape[0], (
        "Incompatible hidden size dimension between tensor1.shape[1] and tensor2.shape[0]"
    )

    if n_rows > 0:
        _rms_norm_forward_kernel[(n_rows,)](
            Y,
            Y.stride(0),
            X,
            X.stride(0),
            W,
            W.stride(0),
            RSTD,
            RSTD.stride(0),
            n_cols,
            eps,
            offset,
            casting_mode,
            BLOCK_SIZE=BLOCK_SIZE,
            num_warps=num_warps,
        )
    return Y.view(*shape), RSTD


def _groups(device, n_rows):
    """How many programs share the rows: as many as the GPU has processors."""
    sm_count = 4
    if device.type == "cuda":
        sm_count = torch.cuda.get_device_properties(device).multi_processor_count
    rows_per_program = max(1, math.ceil(n_rows / sm_count))
    return operator.floordiv(n_rows + rows_per_program - 1, rows_per_program), rows_per_program


def rms_norm_backward(dY, X, W, RSTD, offset):
    shape = dY.shape
    dim = shape[-1]
    dY = dY.view(-1, dim)
    X = X.view(-1, dim)
    n_rows, n_cols = dY.shape
    BLOCK_SIZE, num_warps = calculate_settings(n_cols)

    n_groups, rows_per_program = _groups(X.device, n_rows)
    # fp32 for numerical stability especially.
    _dW = torch.empty((n_groups, n_cols), dtype=torch.float32, device=W.device)
    dW = torch.empty_like(W)
    dX = torch.empty_like(dY)

    if n_groups:
        _rms_norm_backward_kernel[(n_groups,)](
            dY,
            dY.stride(0),
            dX,
            dX.stride(0),
            X,
            X.stride(0),
            W,
            W.stride(0),
            RSTD,
            RSTD.stride(0),
            _dW,
            _dW.stride(0),
            n_rows,
            n_cols,
            offset,
            rows_per_program,
            BLOCK_SIZE=BLOCK_SIZE,
            num_warps=num_warps,
        )
    block = min(BLOCK_SIZE, 512)
    _sum_groups_kernel[(triton.cdiv(n_cols, block),)](
        dW, _dW, _dW.stride(0), n_groups, n_cols, BLOCK=block
    )
    return dX.view(*shape), dW


@torch.library.custom_op("workbench_kernels::rms_norm_fwd", mutates_args=())
def _rms_norm_fwd(
    X: torch.Tensor, W: torch.Tensor, eps: float, offset: float, casting_mode: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return rms_norm_forward(X, W, eps, offset, casting_mode)


@_rms_norm_fwd.register_fake
def _(X, W, eps, offset, casting_mode):
    n_rows = math.prod(X.shape[:-1])
    return torch.empty_like(X), X.new_empty(n_rows, dtype=torch.float32)


@torch.library.custom_op("workbench_kernels::rms_norm_bwd", mutates_args=())
def _rms_norm_bwd(
    dY: torch.Tensor, X: torch.Tensor, W: torch.Tensor, RSTD: torch.Tensor, offset: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return rms_norm_backward(dY, X, W, RSTD, offset)


@_rms_norm_bwd.register_fake
def _(dY, X, W, RSTD, offset):
    return torch.empty_like(dY), torch.empty_like(W)


class LigerRMSNormFunction(torch.autograd.Function):
    """
    Performs RMSNorm (Root Mean Square Normalization), which normalizes the input tensor `X` using
    the weight tensor `W`, with an optional offset and casting mode.

    Some models use an 'offset' to shift the weight tensor `W` by a constant value. For example,
    Gemma uses an offset of 1.0.
    """

    @staticmethod
    @ensure_contiguous
    def forward(ctx, X, W, eps, offset=0.0, casting_mode="gemma"):
        """
        X: (B, T, H) or (BxT, H)
        W: (H,)
        """
        if not isinstance(casting_mode, int):
            assert casting_mode in _str_to_casting_mode, f"Invalid casting mode: {casting_mode}"
            casting_mode = _str_to_casting_mode[casting_mode]
        Y, RSTD = _rms_norm_fwd(X, W, eps, offset, casting_mode)
        ctx.offset = offset
        ctx.save_for_backward(X, W, RSTD)
        return Y

    @staticmethod
    @torch.autograd.function.once_differentiable
    @ensure_contiguous
    def backward(ctx, dY):
        """
        Y: (B, T, H) or (BxT, H)
        """
        X, W, RSTD = ctx.saved_tensors
        dX, dW = _rms_norm_bwd(dY, X, W, RSTD, ctx.offset)
        return dX, dW, None, None, None
''',
    "wrapper.py": '''\
"""rms_norm, functional and as a module."""

import torch
import torch.nn as nn

from workbench_kernels.launch import check, check_shape, check_width

from .kernel import LigerRMSNormFunction


def rms_norm(x, weight, eps: float = 1e-6):
    check("rms_norm", x=x, weight=weight)
    check_width("rms_norm", "x", x)
    check_shape("rms_norm", "weight", weight, x.shape[-1:])
    return LigerRMSNormFunction.apply(x, weight, eps)


class RmsNorm(nn.Module):
    def __init__(self, hidden_size, eps=1e-6, init_fn="ones"):
        super().__init__()
        assert init_fn in ["ones", "zeros"], f"init_fn must be either ones or zeros, got {init_fn}"
        self.weight = nn.Parameter(
            torch.ones(hidden_size) if init_fn == "ones" else torch.zeros(hidden_size)
        )
        self.variance_epsilon = eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.variance_epsilon)

    def extra_repr(self):
        return f"{tuple(self.weight.shape)}, eps={self.variance_epsilon}"
''',
}
