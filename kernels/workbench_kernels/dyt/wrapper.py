"""dyt for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.dyt import kernel
from workbench_kernels.launch import check, check_shape, check_width


def dyt(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = weight·tanh(alpha·x) + bias: dynamic tanh, which stands where a norm would

    x: any shape; float32, bfloat16 or float16; on a GPU.
    alpha: one element, of shape (1,) or (); of the dtype of x.
    weight, bias: the width of the last dimension, of the dtype of x; bias may be None.
    Returns y: the shape and dtype of x. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: a shape that doesn't fit, or a tensor that is not on a GPU.
    """
    check_width("dyt", "x", x)
    if bias is None:
        check("dyt", x=x, alpha=alpha, weight=weight)
    else:
        check("dyt", x=x, alpha=alpha, weight=weight, bias=bias)
        check_shape("dyt", "bias", bias, x.shape[-1:])
    check_shape("dyt", "weight", weight, x.shape[-1:])
    if alpha.dim():
        check_shape("dyt", "alpha", alpha, (1,))
    return kernel.dyt(x, alpha, weight, bias)


class Dyt(nn.Module):
    """Module form of :func:`dyt`; it has alpha, the weight, and unless told otherwise a bias."""

    bias: nn.Parameter | None

    def __init__(self, width: int, alpha_init: float = 0.5, bias: bool = True) -> None:
        super().__init__()
        self.width, self.alpha_init = width, alpha_init
        self.alpha = nn.Parameter(torch.full((1,), alpha_init))
        self.weight = nn.Parameter(torch.ones(width))
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        return dyt(x, self.alpha, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.width}, alpha_init={self.alpha_init}, bias={self.bias is not None}"
