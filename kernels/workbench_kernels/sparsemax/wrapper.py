"""sparsemax for users: the functional form and the module."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.launch import check, check_width
from workbench_kernels.sparsemax import kernel


def sparsemax(x: Tensor) -> Tensor:
    """y = max(x − τ, 0), with τ such that Σy = 1: the nearest point of the simplex

    Martins and Astudillo, "From softmax to sparsemax" (2016). Exact, for rows of any width; of
    NaN in a row all of it is NaN.

    x: any shape, rows along the last dimension; float32, bfloat16 or float16; on a GPU.
    Returns y: the same shape; dtype of x.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16.
        ValueError: a shape that doesn't fit, or a tensor that is not on a GPU.
    """
    check("sparsemax", x=x)
    check_width("sparsemax", "x", x)
    y: Tensor = kernel.sparsemax(x)
    return y


class Sparsemax(nn.Module):
    """Module form of :func:`sparsemax`."""

    def forward(self, x: Tensor) -> Tensor:
        return sparsemax(x)
