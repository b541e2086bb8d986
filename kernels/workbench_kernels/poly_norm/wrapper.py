"""poly_norm for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width
from workbench_kernels.poly_norm import kernel


def poly_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-6) -> Tensor:
    """y = weight₀·n(x³) + weight₁·n(x²) + weight₂·n(x) + bias, with n(u) = u / √(mean(u²) + eps)

    Arithmetic is in float32, in which rows are scaled by a power of two: so x may be as large as
    its dtype holds, whatever its sixth power is.

    x: any shape, rows along the last dimension; float32, bfloat16 or float16; on a GPU.
    weight: (3,), bias: (1,), of the dtype of x.
    Returns y: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: a shape that doesn't fit, or a tensor that is not on a GPU.
    """
    check_width("poly_norm", "x", x)
    check("poly_norm", x=x, weight=weight, bias=bias)
    check_shape("poly_norm", "weight", weight, (3,))
    check_shape("poly_norm", "bias", bias, (1,))
    y: Tensor = kernel.poly_norm(x, weight, bias, eps)[0]
    return y


class PolyNorm(nn.Module):
    """Module form of :func:`poly_norm`; it has weight and bias, a third of each power to begin
    with.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.full((3,), 1 / 3))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return poly_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"eps={self.eps}"
