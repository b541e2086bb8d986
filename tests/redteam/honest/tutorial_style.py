"""As Triton's tutorials are written: names such as `x_ptr`, comments on every line, a lambda for
the grid, an autograd Function around ops of two lines.
"""

BASE = "relu2"
FILES = {
    "kernel.py": '''\
"""
Squared ReLU
============

In this tutorial, you will write a simple activation using Triton. You will learn about:

* The basic programming model of Triton.
* The `triton.jit` decorator, which is used to define Triton kernels.
* Registering an operator so that `torch.compile` can see it.
"""

# %%
# Compute Kernel
# --------------

import torch

import triton
import triton.language as tl

DEVICES = ("cpu", "cuda")


@triton.jit
def relu2_kernel(x_ptr,  # *Pointer* to input vector.
                 output_ptr,  # *Pointer* to output vector.
                 n_elements,  # Size of the vector.
                 BLOCK_SIZE: tl.constexpr,  # Number of elements each program should process.
                 # NOTE: `constexpr` so it can be used as a shape value.
                 ):
    # There are multiple 'programs' processing different data. We identify which program
    # we are here:
    pid = tl.program_id(axis=0)  # We use a 1D launch grid so axis is 0.
    # Tensors may have more than 2**31 elements, so offsets are of 64 bits.
    block_start = tl.cast(pid, tl.int64) * BLOCK_SIZE
    offsets = block_start + tl.arange(0, BLOCK_SIZE)
    # Create a mask to guard memory operations against out-of-bounds accesses.
    mask = offsets < n_elements
    # Load x from DRAM, masking out any extra elements in case the input is not a
    # multiple of the block size.
    x = tl.load(x_ptr + offsets, mask=mask).to(tl.float32)
    x = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
    # Write x * x back to DRAM.
    tl.store(output_ptr + offsets, x * x, mask=mask)


@triton.jit
def relu2_grad_kernel(dy_ptr, x_ptr, dx_ptr, n_elements, BLOCK_SIZE: tl.constexpr):
    pid = tl.program_id(axis=0)
    block_start = tl.cast(pid, tl.int64) * BLOCK_SIZE
    offsets = block_start + tl.arange(0, BLOCK_SIZE)
    mask = offsets < n_elements
    dy = tl.load(dy_ptr + offsets, mask=mask).to(tl.float32)
    x = tl.load(x_ptr + offsets, mask=mask).to(tl.float32)
    x = tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(dx_ptr + offsets, 2.0 * dy * x, mask=mask)


# %%
# Let's also declare a helper function to (1) allocate the `z` tensor
# and (2) enqueue the above kernel with appropriate grid/block sizes:


@torch.library.custom_op("workbench_kernels::relu2", mutates_args={}, device_types=DEVICES)
def relu2_forward(x: torch.Tensor) -> torch.Tensor:
    # We need to preallocate the output.
    x = x.contiguous()
    output = torch.empty_like(x)
    assert x.device == output.device
    n_elements = output.numel()
    # The SPMD launch grid denotes the number of kernel instances that run in parallel.
    grid = lambda meta: (triton.cdiv(n_elements, meta['BLOCK_SIZE']), )
    if n_elements > 0:
        relu2_kernel[grid](x, output, n_elements, BLOCK_SIZE=1024)
    # We return a handle to the output.
    return output


@torch.library.custom_op("workbench_kernels::relu2_grad", mutates_args={}, device_types=DEVICES)
def relu2_grad(dy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    dy, x = dy.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    n_elements = dx.numel()
    grid = lambda meta: (triton.cdiv(n_elements, meta['BLOCK_SIZE']), )
    if n_elements > 0:
        relu2_grad_kernel[grid](dy, x, dx, n_elements, BLOCK_SIZE=1024)
    return dx


relu2_forward.register_fake(lambda x: torch.empty_like(x, memory_format=torch.contiguous_format))
relu2_grad.register_fake(lambda dy, x: torch.empty_like(x, memory_format=torch.contiguous_format))


# %%
# Putting it all together as an autograd function:


class SquaredReLU(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return relu2_forward(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x, = ctx.saved_tensors
        return relu2_grad(dy, x)


relu2 = SquaredReLU.apply
''',
}
