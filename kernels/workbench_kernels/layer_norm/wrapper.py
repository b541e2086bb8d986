"""layer_norm for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width
from workbench_kernels.layer_norm import kernel


def layer_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)·weight + bias, with var the mean square of x - mean(x)

    As torch.nn.functional.layer_norm over the last dimension (its normalized_shape is left out).

    x: any shape, rows along the last dimension; float32, bfloat16 or float16; on a GPU.
    weight, bias: the width of the last dimension, of the dtype of x; None for none.
    Returns y: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: a shape that doesn't fit, or a tensor that is not on a GPU.
    """
    check_width("layer_norm", "x", x)
    given = {"weight": weight, "bias": bias}
    parameters = {name: t for name, t in given.items() if t is not None}
    check("layer_norm", x=x, **parameters)
    for name, parameter in parameters.items():
        check_shape("layer_norm", name, parameter, x.shape[-1:])
    y: Tensor = kernel.layer_norm(x, weight, bias, eps)[0]
    return y


class LayerNorm(nn.Module):
    """Module form of :func:`layer_norm`; it has weight and bias unless told otherwise, and takes
    what torch.nn.LayerNorm has in its state_dict.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self, width: int, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        weighted, biased = elementwise_affine, elementwise_affine and bias
        self.register_parameter("weight", nn.Parameter(torch.ones(width)) if weighted else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if biased else None)

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.width}, eps={self.eps}, elementwise_affine={self.weight is not None}, "
            f"bias={self.bias is not None}"
        )
