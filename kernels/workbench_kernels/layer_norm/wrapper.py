"""layer_norm for users: the functional form and the module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width, normalized_dims, sizes
from workbench_kernels.layer_norm import kernel


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int] | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)·weight + bias, with var the mean square of x - mean(x)

    As torch.nn.functional.layer_norm.

    input: any shape; float32, bfloat16 or float16; on a GPU.
    normalized_shape: the sizes of the last dimensions, which are a row x; None for the last one.
    weight, bias: of that shape, and of the dtype of input; None for none.
    Returns y: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them, or
            a tensor for normalized_shape.
        ValueError: a shape that doesn't fit, or a tensor that is not on a GPU.
    """
    check_width("layer_norm", "input", input)
    given = {"weight": weight, "bias": bias}
    parameters = {name: t for name, t in given.items() if t is not None}
    check("layer_norm", input=input, **parameters)
    dims = normalized_dims("layer_norm", input, normalized_shape)
    for name, parameter in parameters.items():
        check_shape("layer_norm", name, parameter, input.shape[-dims:])
    if dims > 1:
        w, b = (None if t is None else t.flatten() for t in (weight, bias))
        return layer_norm(input.flatten(-dims), None, w, b, eps).view(input.shape)
    y: Tensor = kernel.layer_norm(input, weight, bias, eps)[0]
    return y


class LayerNorm(nn.Module):
    """Module form of :func:`layer_norm`, with torch.nn.LayerNorm's arguments; it has weight and
    bias unless told otherwise, and takes what that has in its state_dict.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = sizes(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        weighted, biased = elementwise_affine, elementwise_affine and bias
        self.register_parameter("weight", nn.Parameter(torch.ones(shape)) if weighted else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(shape)) if biased else None)

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.weight is not None}, bias={self.bias is not None}"
        )
