"""softmax for users: the functional form and the module."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.launch import check, check_width
from workbench_kernels.softmax import kernel


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """y = eˣ / Σeˣ along `dim`

    input: any shape; float32, bfloat16 or float16; on a GPU. The last dimension is read in place,
        any other one is moved there and back.
    Returns y: the same shape and dtype. Arithmetic is in float32, rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16.
        IndexError: no such dimension.
        ValueError: a dimension of size 0, or a tensor that is not on a GPU.
    """
    check("softmax", input=input)
    if dim not in (-1, input.dim() - 1):
        return softmax(input.movedim(dim, -1)).movedim(-1, dim)
    check_width("softmax", "input", input)
    y: Tensor = kernel.softmax(input)
    return y


class Softmax(nn.Module):
    """Module form of :func:`softmax`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
