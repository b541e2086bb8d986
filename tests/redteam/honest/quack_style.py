"""As QuACK registers ops: custom ops that write into tensors given to them (`mutates_args`), and an
autograd Function that allocates them.
"""

BASE = "rms_norm"
FILES = {
    "kernel.py": '''\
# RMSNorm with out-variants: the registered ops allocate nothing and return nothing.
import math
from typing import Optional, Tuple

import torch
import triton
import triton.language as tl
from torch import Tensor


def _threads_per_row(N: int) -> int:
    """Number of warps by a table of widths."""
    for limit, warps in [(64, 1), (512, 2), (2048, 4), (8192, 8)]:
        if N <= limit:
            return warps
    return 16


@triton.jit
def rmsnorm_fwd_kernel(mX, mW, mO, mRstd, eps, M, N, ROWS: tl.constexpr, TILE_N: tl.constexpr):
    bidx = tl.program_id(0)
    rows = (bidx * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    cols = tl.arange(0, TILE_N)
    is_row, is_col = rows < M, cols < N
    tXpX = is_row[:, None] & is_col[None, :]
    tXgX = rows[:, None] * N + cols[None, :]
    x = tl.load(mX + tXgX, mask=tXpX, other=0.0, eviction_policy="evict_first").to(tl.float32)
    w = tl.load(mW + cols, mask=is_col, other=0.0, eviction_policy="evict_last").to(tl.float32)
    sum_sq_x = tl.sum(x * x, 1)
    rstd = 1.0 / tl.sqrt_rn(tl.div_rn(sum_sq_x, N.to(tl.float32)) + eps)
    if mRstd is not None:
        tl.store(mRstd + rows, rstd, mask=is_row)
    y = x * tl.expand_dims(rstd, 1) * tl.expand_dims(w, 0)
    tl.store(mO + tXgX, y, mask=tXpX, cache_modifier=".cs")


@triton.jit
def rmsnorm_bwd_kernel(
    mX, mW, mdO, mRstd, mdX, mdW, M, N, ROWS: tl.constexpr, TILE_N: tl.constexpr
):
    cols = tl.arange(0, TILE_N)
    is_col = cols < N
    w = tl.load(mW + cols, mask=is_col, other=0.0).to(tl.float32)
    acc = tl.full([ROWS, TILE_N], 0, tl.float32)
    bidx_start, gdim = tl.program_id(0), tl.num_programs(0)
    for bidx in tl.range(bidx_start, tl.cdiv(M, ROWS), gdim, num_stages=2):
        rows = (bidx * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        is_row = rows < M
        pred = is_row[:, None] & is_col[None, :]
        at = rows[:, None] * N + cols[None, :]
        x = tl.load(mX + at, mask=pred, other=0.0).to(tl.float32)
        dout = tl.load(mdO + at, mask=pred, other=0.0).to(tl.float32)
        rstd = tl.load(mRstd + rows, mask=is_row, other=0.0)[:, None]
        x_hat = x * rstd
        wdy = dout * w[None, :]
        mean_xhat_wdy = tl.div_rn(tl.sum(x_hat * wdy, 1, keep_dims=True), N.to(tl.float32))
        dx = (wdy - x_hat * mean_xhat_wdy) * rstd
        tl.store(mdX + at, dx, mask=pred)
        acc = acc + dout * x_hat
    tl.store(mdW + bidx_start * N + cols, tl.sum(acc, 0), mask=is_col)


@triton.jit
def reduce_dw_kernel(mdW, mParts, P, N, TILE_P: tl.constexpr, TILE_N: tl.constexpr):
    n = tl.program_id(0) * TILE_N + tl.arange(0, TILE_N)
    acc = tl.zeros([TILE_P, TILE_N], dtype=tl.float32)
    p0 = 0
    while p0 < P:
        p = p0 + tl.arange(0, TILE_P)
        acc += tl.load(
            mParts + p[:, None] * N + n[None, :],
            mask=(p < P)[:, None] & (n < N)[None, :],
            other=0.0,
        )
        p0 += TILE_P
    tl.store(mdW + n, tl.sum(acc, 0).to(mdW.dtype.element_ty), mask=n < N)


def _tile(N: int) -> Tuple[int, int]:
    tile_n = triton.next_power_of_2(N)
    return max(1, 2048 // tile_n), tile_n


@torch.library.custom_op(
    "workbench_kernels::rms_norm_fwd",
    mutates_args=("out", "rstd"),
    device_types=("cuda", "cpu"),
    schema="(Tensor x, Tensor weight, Tensor(a2!) out, Tensor(a3!)? rstd, float eps) -> ()",
)
def _rmsnorm_fwd(
    x: Tensor, weight: Tensor, out: Tensor, rstd: Optional[Tensor], eps: float
) -> None:
    """RMSNorm forward pass.
    Args:
        x: Input tensor of shape (M, N)
        weight: Weight tensor of shape (N,)
        eps: Small value for numerical stability
    """
    assert x.dim() == 2, "Input must be 2D"
    M, N = x.shape
    rows, tile_n = _tile(N)
    if M > 0:
        rmsnorm_fwd_kernel[(triton.cdiv(M, rows),)](
            x, weight, out, rstd, eps, M, N, ROWS=rows, TILE_N=tile_n, num_warps=_threads_per_row(N)
        )


@_rmsnorm_fwd.register_fake
def _rmsnorm_fwd_fake(
    x: Tensor, weight: Tensor, out: Tensor, rstd: Optional[Tensor], eps: float
) -> None:
    pass


@torch.library.custom_op(
    "workbench_kernels::rms_norm_bwd",
    mutates_args={"dx", "dw", "dw_partial"},
    device_types=("cuda", "cpu"),
)
def _rmsnorm_bwd(
    x: Tensor,
    weight: Tensor,
    dout: Tensor,
    rstd: Tensor,
    dx: Tensor,
    dw: Tensor,
    dw_partial: Tensor,
) -> None:
    M, N = x.shape
    rows, tile_n = _tile(N)
    rmsnorm_bwd_kernel[(dw_partial.shape[0],)](
        x, weight, dout, rstd, dx, dw_partial, M, N, ROWS=rows, TILE_N=tile_n
    )
    tile = min(1024, tile_n)
    reduce_dw_kernel[(triton.cdiv(N, tile),)](
        dw, dw_partial, dw_partial.shape[0], N, TILE_P=16, TILE_N=tile
    )


@_rmsnorm_bwd.register_fake
def _rmsnorm_bwd_fake(x, weight, dout, rstd, dx, dw, dw_partial) -> None:
    return None


def _get_sm_count(N: int, device: torch.device) -> int:
    if device.type != "cuda":
        return 3
    sm_count = torch.cuda.get_device_properties(device).multi_processor_count
    return sm_count * (16 if N <= 256 else 8 if N <= 1024 else 4 if N <= 2048 else 2)


class RMSNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x_shape_start = x.shape
        # Flatten input
        x = x.reshape(-1, x.shape[-1]).contiguous()
        weight = weight.contiguous()
        need_grad = any(ctx.needs_input_grad[:2])
        out = torch.empty_like(x)
        rstd = torch.empty(x.shape[0], device=x.device, dtype=torch.float32) if need_grad else None
        _rmsnorm_fwd(x, weight, out, rstd, eps)
        if need_grad:
            ctx.save_for_backward(x, weight, rstd)
        ctx.x_shape_start = x_shape_start
        return out.reshape(x_shape_start)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dout: Tensor):
        x, weight, rstd = ctx.saved_tensors
        dout = dout.reshape(-1, dout.shape[-1]).contiguous()
        M, N = x.shape
        rows, _ = _tile(N)
        sm_count = max(1, min(_get_sm_count(N, x.device), math.ceil(M / rows)))
        dx = torch.empty_like(x)
        dw = torch.empty_like(weight)
        dw_partial = torch.empty(sm_count, N, device=x.device, dtype=torch.float32)
        _rmsnorm_bwd(x, weight, dout, rstd, dx, dw, dw_partial)
        return dx.view(ctx.x_shape_start), dw, None


def rmsnorm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    return RMSNormFunction.apply(x, weight, eps)
''',
    "wrapper.py": '''\
from torch import Tensor, nn

import torch
from workbench_kernels.launch import check, check_shape, check_width
from workbench_kernels.rms_norm.kernel import rmsnorm


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-06) -> Tensor:
    """RMSNorm over the last dimension.

    Args:
        x: Input tensor of shape (..., N)
        weight: Weight tensor of shape (N,)
        eps: Small value for numerical stability

    Returns:
        Normalized output tensor of same shape as x
    """
    check("rms_norm", x=x, weight=weight)
    check_width("rms_norm", "x", x)
    check_shape("rms_norm", "weight", weight, (x.size(-1),))
    return rmsnorm(x, weight, eps)


class RmsNorm(nn.Module):
    """RMSNorm that behaves like torch.nn.RMSNorm with elementwise_affine=True."""

    weight: nn.Parameter

    def __init__(self, dim: int, eps: float = 1e-6, device=None, dtype=None) -> None:
        factory_kwargs = {"device": device, "dtype": dtype}
        super().__init__()
        self.dim, self.eps = dim, eps
        self.register_parameter("weight", nn.Parameter(torch.ones(dim, **factory_kwargs)))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, eps=self.eps)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
''',
}
