"""As attorch writes activations: one pair of kernels for many functions, chosen by a constexpr
string, autotuned over a helper's configurations, inputs flattened.
"""

BASE = "relu2"
FILES = {
    "kernel.py": '''\
"""
Kernels for activation functions with their gradients, and the squared ReLU made of them.
"""


from typing import Dict, List, Optional

import torch
import triton
import triton.language as tl
from torch import Tensor


def warps_kernel_configs(meta: Optional[Dict[str, int]] = None) -> List[triton.Config]:
    """
    Returns kernel configurations with all possible number of warps.
    """
    return [triton.Config(dict(meta or {}), num_warps=2**i) for i in range(1, 5)]


def element_wise_kernel_configs(block_name: str = 'BLOCK_SIZE') -> List[triton.Config]:
    """
    Returns kernel configurations for element-wise operations.

    Args:
        block_name: Name of block argument rows are distributed over.
    """
    return [triton.Config({block_name: 64}, num_warps=2),
            triton.Config({block_name: 128}, num_warps=2),
            triton.Config({block_name: 512}, num_warps=4),
            triton.Config({block_name: 1024}, num_warps=4)]


@triton.jit
def relu(input):
    """
    Applies ReLU to the input, propagating NaN.
    """
    return tl.where(input < 0, 0.0, input)


@triton.jit
def apply_act_func(input, act_func: tl.constexpr):
    """
    Applies an activation function to the input.

    Args:
        input: Input. The input must be loaded and cannot be a pointer.
        act_func: Name of activation function to apply.
    """
    if act_func == 'relu':
        output = relu(input)

    elif act_func == 'relu2':
        output = relu(input)
        output = output * output

    else:
        tl.static_assert(False, 'unknown activation')

    return output


@triton.jit
def apply_act_func_grad(output_grad, input, act_func: tl.constexpr):
    """
    Calculates the gradient of an activation function.
    """
    if act_func == 'relu':
        output = tl.where(input < 0, 0.0, 1.0)

    elif act_func == 'relu2':
        output = 2 * relu(input)

    else:
        tl.static_assert(False, 'unknown activation')

    return output_grad * output


@triton.autotune(
    configs=element_wise_kernel_configs(),
    key=['size'],
)
@triton.jit
def act_func_forward_kernel(
    input_pointer, output_pointer, size,
    act_func: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ):
    # This program processes BLOCK_SIZE rows.
    pid = tl.program_id(axis=0).to(tl.int64)
    offset = pid * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    mask = offset < size

    input = tl.load(input_pointer + offset, mask=mask).to(tl.float32)
    tl.store(output_pointer + offset, apply_act_func(input, act_func), mask=mask)


@triton.autotune(
    configs=element_wise_kernel_configs(),
    key=['size'],
)
@triton.jit
def act_func_backward_kernel(
    output_grad_pointer, input_pointer, input_grad_pointer, size,
    act_func: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ):
    pid = tl.program_id(axis=0).to(tl.int64)
    offset = pid * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    mask = offset < size

    output_grad = tl.load(output_grad_pointer + offset, mask=mask).to(tl.float32)
    input = tl.load(input_pointer + offset, mask=mask).to(tl.float32)
    input_grad = apply_act_func_grad(output_grad, input, act_func)
    tl.store(input_grad_pointer + offset, input_grad, mask=mask)


@torch.library.custom_op("workbench_kernels::relu2_act", mutates_args=())
def act_forward(input: Tensor, act_func: str) -> Tensor:
    flattened_input = input.flatten().contiguous()
    output = torch.empty_like(flattened_input, memory_format=torch.contiguous_format)

    size = flattened_input.numel()
    if size == 0:
        return output.view(input.shape)

    # Launches 1D grid where each program operates over
    # BLOCK_SIZE elements.
    grid = lambda META: (triton.cdiv(size, META['BLOCK_SIZE']),)
    act_func_forward_kernel[grid](flattened_input, output, size, act_func)

    return output.view(input.shape)


@torch.library.custom_op("workbench_kernels::relu2_act_backward", mutates_args=())
def act_backward(output_grad: Tensor, input: Tensor, act_func: str) -> Tensor:
    output_grad = output_grad.flatten().contiguous()
    flattened_input = input.flatten().contiguous()
    size = flattened_input.numel()
    input_grad = torch.empty_like(flattened_input, memory_format=torch.contiguous_format)

    if size:
        grid = lambda META: (triton.cdiv(size, META['BLOCK_SIZE']),)
        act_func_backward_kernel[grid](output_grad, flattened_input, input_grad, size, act_func)

    return input_grad.view_as(input)


@act_forward.register_fake
def _(input, act_func):
    return torch.empty_like(input, memory_format=torch.contiguous_format)


@act_backward.register_fake
def _(output_grad, input, act_func):
    return torch.empty_like(input, memory_format=torch.contiguous_format)


def _setup(ctx, inputs, output):
    input, act_func = inputs
    ctx.act_func = act_func
    if ctx.needs_input_grad[0]:
        ctx.save_for_backward(input)


def _backward(ctx, output_grad):
    (input,) = ctx.saved_tensors
    # Pads output with None because a gradient is necessary for
    # all input arguments.
    return act_backward(output_grad, input, ctx.act_func), None


def _double_backward(ctx, *grads):
    raise NotImplementedError('the gradient of an activation is not differentiable')


act_forward.register_autograd(_backward, setup_context=_setup)
act_backward.register_autograd(_double_backward)


def relu2(x: Tensor) -> Tensor:
    return act_forward(x, 'relu2')
''',
}
