"""softmax for users: the functional form and the module."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.launch import check, check_width
from workbench_kernels.softmax import kernel


def softmax(x: Tensor) -> Tensor:
    """y = eˣ / Σeˣ

    x: any shape, rows along the last dimension; float32, bfloat16 or float16; on a GPU.
    Returns y: the same shape; dtype of x.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16.
        ValueError: a shape that doesn't fit, or a tensor that is not on a GPU.
    """
    check("softmax", x=x)
    check_width("softmax", "x", x)
    return kernel.softmax(x)


class Softmax(nn.Module):
    """Module form of :func:`softmax`."""

    def forward(self, x: Tensor) -> Tensor:
        return softmax(x)
