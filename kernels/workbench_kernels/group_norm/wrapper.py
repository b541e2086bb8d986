"""group_norm for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.group_norm import kernel
from workbench_kernels.launch import check, check_shape


def group_norm(
    input: Tensor,
    num_groups: int = 1,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)·weight + bias, over each group of channels

    As torch.nn.functional.group_norm.

    input: (batch, channels, ...); float32, bfloat16 or float16; on a GPU.
    num_groups: divides the channels; those of a group, x, lie side by side.
    weight, bias: (channels,), of the dtype of input; None for none.
    Returns y: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: a shape that doesn't fit, groups that don't divide the channels, or a tensor
            that is not on a GPU.
    """
    given = {"weight": weight, "bias": bias}
    parameters = {name: t for name, t in given.items() if t is not None}
    check("group_norm", input=input, **parameters)
    shape = tuple(input.shape)
    if input.dim() < 2 or 0 in shape[1:]:
        raise ValueError(
            f"group_norm: input has shape {shape}; it must have channels and positions"
        )
    if num_groups < 1 or input.shape[1] % num_groups:
        what = f"num_groups is {num_groups}, which does not divide {input.shape[1]} channels"
        raise ValueError(f"group_norm: {what}")
    for name, parameter in parameters.items():
        check_shape("group_norm", name, parameter, input.shape[1:2])
    y: Tensor = kernel.group_norm(input, weight, bias, num_groups, eps)[0]
    return y


class GroupNorm(nn.Module):
    """Module form of :func:`group_norm`, with torch.nn.GroupNorm's arguments; it has weight and
    bias unless not `affine`, and takes what that has in its state_dict.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__()
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        weight = nn.Parameter(torch.ones(num_channels)) if affine else None
        bias = nn.Parameter(torch.zeros(num_channels)) if affine else None
        self.register_parameter("weight", weight)
        self.register_parameter("bias", bias)

    def forward(self, input: Tensor) -> Tensor:
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.weight is not None}"
        )
