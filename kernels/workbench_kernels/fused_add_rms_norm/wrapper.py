"""fused_add_rms_norm for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.fused_add_rms_norm import kernel
from workbench_kernels.launch import check, check_shape, check_width

_ROUNDINGS = ("once", "before_weight")


def fused_add_rms_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    offset: float = 0.0,
    rounding: str = "once",
) -> tuple[Tensor, Tensor]:
    """y = s / √(mean(s²) + eps)·(weight + offset), and s = x + residual

    What a decoder layer does between its blocks: s is the new residual stream, rounded to the dtype
    of x as PyTorch's sum is, and y is its norm, what :func:`rms_norm` gives of it.

    x: any shape, rows along the last dimension; float32, bfloat16 or float16; on a GPU.
    residual: the shape and dtype of x.
    weight: the width of the last dimension, of the dtype of x; None for none.
    offset: 1 where weights are kept as what they differ from 1, as in Gemma.
    rounding: in 16 bits "once" rounds what float32 gives; "before_weight" multiplies as Llama does,
        in the dtype of x: what is normalised is rounded, weight + offset is, and their product.
    Returns y and s: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: a shape that doesn't fit, an unknown rounding, an offset without a weight, or a
            tensor that is not on a GPU.
    """
    check_width("fused_add_rms_norm", "x", x)
    check_shape("fused_add_rms_norm", "residual", residual, x.shape)
    if rounding not in _ROUNDINGS:
        raise ValueError(f"fused_add_rms_norm: rounding is {rounding!r}, not one of {_ROUNDINGS}")
    if weight is None:
        check("fused_add_rms_norm", x=x, residual=residual)
        if offset != 0.0:
            what = f"offset is {offset}, but there is no weight to add it to"
            raise ValueError(f"fused_add_rms_norm: {what}")
    else:
        check("fused_add_rms_norm", x=x, residual=residual, weight=weight)
        check_shape("fused_add_rms_norm", "weight", weight, x.shape[-1:])
    y, s, _rstd = kernel.fused_add_rms_norm(x, residual, weight, eps, offset, rounding)
    return y, s


class FusedAddRmsNorm(nn.Module):
    """Module form of :func:`fused_add_rms_norm`; it has the weight, unless not `weighted`."""

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

    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        return fused_add_rms_norm(x, residual, self.weight, self.eps, self.offset, self.rounding)

    def extra_repr(self) -> str:
        return (
            f"{self.width}, eps={self.eps}, offset={self.offset}, rounding={self.rounding!r}, "
            f"weighted={self.weight is not None}"
        )
