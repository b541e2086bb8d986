"""Registered with `torch.library.Library` by hand: schemas as text, `impl` and `register_fake` as
decorators, one implementation for both devices.
"""

BASE = "relu2"
FILES = {
    "kernel.py": '''\
"""Squared ReLU.

Registration follows PyTorch's "custom operators" manual, low-level part: schema strings, then
implementations, then the fake, then autograd.
"""

import torch
import triton
import triton.language as tl

_LIB = torch.library.Library("workbench_kernels", "FRAGMENT")
_LIB.define("relu2(Tensor x) -> Tensor", tags=[torch.Tag.pt2_compliant_tag])
_LIB.define("relu2_backward(Tensor grad, Tensor x) -> Tensor", tags=[torch.Tag.pt2_compliant_tag])


@triton.jit
def _forward_kernel(out_ptr, in_ptr, numel, XBLOCK: tl.constexpr):
    xoffset = tl.program_id(0).to(tl.int64) * XBLOCK
    xindex = xoffset + tl.arange(0, XBLOCK)[:]
    xmask = xindex < numel
    tmp0 = tl.load(in_ptr + xindex, xmask).to(tl.float32)
    tmp1 = tl.where(tmp0 > 0, tmp0, tl.where(tmp0 != tmp0, tmp0, 0.0))
    tmp2 = tmp1 * tmp1
    tl.store(out_ptr + xindex, tmp2.to(out_ptr.dtype.element_ty), xmask)


@triton.jit
def _backward_kernel(out_ptr, grad_ptr, in_ptr, numel, XBLOCK: tl.constexpr):
    xoffset = tl.program_id(0).to(tl.int64) * XBLOCK
    xindex = xoffset + tl.arange(0, XBLOCK)[:]
    xmask = xindex < numel
    tmp0 = tl.load(grad_ptr + xindex, xmask).to(tl.float32)
    tmp1 = tl.load(in_ptr + xindex, xmask).to(tl.float32)
    tmp2 = tl.where(tmp1 > 0, tmp1, tl.where(tmp1 != tmp1, tmp1, 0.0))
    tmp3 = tmp0 * (tmp2 + tmp2)
    tl.store(out_ptr + xindex, tmp3.to(out_ptr.dtype.element_ty), xmask)


def _config(numel):
    """Block and warps: small tensors get small blocks."""
    block = min(4096, max(64, triton.next_power_of_2(numel)))
    return block, 8 if block >= 2048 else 4


def _launch(kernel, out, *inputs):
    numel = out.numel()
    if numel == 0:
        return out
    block, warps = _config(numel)
    kernel[(triton.cdiv(numel, block), 1, 1)](out, *inputs, numel, XBLOCK=block, num_warps=warps)
    return out


@torch.library.impl(_LIB, "relu2", "CPU")
@torch.library.impl(_LIB, "relu2", "CUDA")
def _relu2(x):
    x = x.contiguous()
    return _launch(_forward_kernel, torch.empty_like(x), x)


@torch.library.impl(_LIB, "relu2_backward", "CPU")
@torch.library.impl(_LIB, "relu2_backward", "CUDA")
def _relu2_backward(grad, x):
    grad, x = grad.contiguous(), x.contiguous()
    return _launch(_backward_kernel, torch.empty_like(x), grad, x)


@torch.library.register_fake("workbench_kernels::relu2", lib=_LIB)
def _(x):
    return x.new_empty(x.size())


@torch.library.register_fake("workbench_kernels::relu2_backward", lib=_LIB)
def _(grad, x):
    return x.new_empty(x.size())


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(inputs[0])


def _backward(ctx, grad):
    return torch.ops.workbench_kernels.relu2_backward(grad, ctx.saved_tensors[0])


def _no_double_backward(ctx, grad):
    raise NotImplementedError("double backward of relu2 is not implemented")


torch.library.register_autograd(
    "workbench_kernels::relu2", _backward, setup_context=_setup_context, lib=_LIB
)
torch.library.register_autograd(
    "workbench_kernels::relu2_backward", _no_double_backward, lib=_LIB
)

relu2 = torch.ops.workbench_kernels.relu2
''',
}
