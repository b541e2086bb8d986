"""rms_norm for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width
from workbench_kernels.rms_norm import kernel

_ROUNDINGS = ("once", "before_weight")


def rms_norm(
    x: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    offset: float = 0.0,
    rounding: str = "once",
) -> Tensor:
    """y = x / √(mean(x²) + eps)·(weight + offset)

    x: any shape, rows along the last dimension; float32, bfloat16 or float16; on a GPU.
    weight: the width of the last dimension, of the dtype of x; None for none.
    offset: 1 where weights are kept as what they differ from 1, as in Gemma.
    rounding: in 16 bits "once" rounds what float32 gives; "before_weight" multiplies as Llama does,
        in the dtype of x: what is normalised is rounded, weight + offset is, and their product.
    Returns y: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: a shape that doesn't fit, an unknown rounding, an offset without a weight, or a
            tensor that is not on a GPU.
    """
    check_width("rms_norm", "x", x)
    if rounding not in _ROUNDINGS:
        raise ValueError(f"rms_norm: rounding is {rounding!r}, not one of {_ROUNDINGS}")
    if weight is None:
        check("rms_norm", x=x)
        if offset != 0.0:
            raise ValueError(f"rms_norm: offset is {offset}, but there is no weight to add it to")
    else:
        check("rms_norm", x=x, weight=weight)
        check_shape("rms_norm", "weight", weight, x.shape[-1:])
    y: Tensor = kernel.rms_norm(x, weight, eps, offset, rounding)[0]
    return y


class RmsNorm(nn.Module):
    """Module form of :func:`rms_norm`; it has the weight, unless not `weighted`."""

    weight: nn.Parameter | None

    def __init__(
        self,
        width: int,
        eps: float = 1e-6,
        offset: float = 0.0,
        rounding: str = "once",
        weighted: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.eps, self.offset, self.rounding = width, eps, offset, rounding
        weight = nn.Parameter(torch.full((width,), 1.0 - offset)) if weighted else None
        self.register_parameter("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps, self.offset, self.rounding)

    def extra_repr(self) -> str:
        return (
            f"{self.width}, eps={self.eps}, offset={self.offset}, rounding={self.rounding!r}, "
            f"weighted={self.weight is not None}"
        )
