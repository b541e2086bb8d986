"""rms_norm for users: the functional form and the module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width, normalized_dims, sizes
from workbench_kernels.rms_norm import kernel

_ROUNDINGS = ("once", "before_weight")
_EPS = torch.finfo(torch.float32).eps


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int] | None = None,
    weight: Tensor | None = None,
    eps: float | None = 1e-6,
    offset: float = 0.0,
    rounding: str = "once",
) -> Tensor:
    """y = x / √(mean(x²) + eps)·(weight + offset)

    As torch.nn.functional.rms_norm, but for the default of eps.

    input: any shape; float32, bfloat16 or float16; on a GPU.
    normalized_shape: the sizes of the last dimensions, which are a row x; None for the last one.
    weight: of that shape, and of the dtype of input; None for none.
    eps: None for float32's, as in PyTorch: 1.19e-7.
    offset: 1 where weights are kept as what they differ from 1, as in Gemma.
    rounding: in 16 bits "once" rounds what float32 gives; "before_weight" multiplies as Llama does,
        in the dtype of input: what is normalised is rounded, weight + offset is, and their product.
    Returns y: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them, or
            a tensor for normalized_shape.
        ValueError: a shape that doesn't fit, an unknown rounding, an offset without a weight, or a
            tensor that is not on a GPU.
    """
    check_width("rms_norm", "input", input)
    if rounding not in _ROUNDINGS:
        raise ValueError(f"rms_norm: rounding is {rounding!r}, not one of {_ROUNDINGS}")
    if weight is None:
        check("rms_norm", input=input)
        if offset != 0.0:
            raise ValueError(f"rms_norm: offset is {offset}, but there is no weight to add it to")
    else:
        check("rms_norm", input=input, weight=weight)
    dims = normalized_dims("rms_norm", input, normalized_shape)
    if weight is not None:
        check_shape("rms_norm", "weight", weight, input.shape[-dims:])
    added = _EPS if eps is None else eps
    if dims > 1:
        flat = None if weight is None else weight.flatten()
        y = rms_norm(input.flatten(-dims), None, flat, added, offset, rounding)
        return y.view(input.shape)
    rows: Tensor = kernel.rms_norm(input, weight, added, offset, rounding)[0]
    return rows


class RmsNorm(nn.Module):
    """Module form of :func:`rms_norm`, with torch.nn.RMSNorm's arguments; it has the weight, unless
    not `elementwise_affine`, and takes what that has in its state_dict.
    """

    weight: nn.Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = 1e-6,
        elementwise_affine: bool = True,
        offset: float = 0.0,
        rounding: str = "once",
    ) -> None:
        super().__init__()
        shape = sizes(normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.offset, self.rounding = offset, rounding
        weight = nn.Parameter(torch.full(shape, 1.0 - offset)) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def forward(self, input: Tensor) -> Tensor:
        shape, eps = self.normalized_shape, self.eps
        return rms_norm(input, shape, self.weight, eps, self.offset, self.rounding)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.weight is not None}, "
            f"offset={self.offset}, rounding={self.rounding!r}"
        )
