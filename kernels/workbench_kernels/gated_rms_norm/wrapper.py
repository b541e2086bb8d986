"""gated_rms_norm for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.gated_rms_norm import kernel
from workbench_kernels.launch import check, check_shape, check_width

ACTIVATIONS = ("silu", "sigmoid")
ROUNDINGS = ("once", "before_weight")


def gated_rms_norm(
    x: Tensor,
    gate: Tensor,
    weight: Tensor,
    eps: float = 1e-6,
    gate_first: bool = False,
    activation: str = "silu",
    num_groups: int = 1,
    rounding: str = "once",
) -> Tensor:
    """y = n(x)·weight·act(gate), or n(x·act(gate))·weight; n(u) = u / √(mean(u²) + eps)

    x: any shape, rows along the last dimension; float32, bfloat16 or float16; on a GPU.
    gate: the shape and dtype of x.
    weight: the width of the last dimension, of the dtype of x.
    gate_first: normalise the product with the gate, as Mamba2 does; else gate what is normalised,
        as Qwen3-Next does.
    activation: of the gate: "silu", gate·sigmoid(gate), or "sigmoid".
    num_groups: so many parts of each row are normalised by themselves; divides the width.
    rounding: in 16 bits "once" rounds what float32 gives; "before_weight" rounds, as Mamba2 and
        Qwen3-Next do, what is normalised, its product with the weight, and what the gate makes of
        that.
    Returns y: the same shape and dtype. Gradients are computed in float32 and rounded once.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    check_width("gated_rms_norm", "x", x)
    check("gated_rms_norm", x=x, gate=gate, weight=weight)
    check_shape("gated_rms_norm", "gate", gate, x.shape)
    check_shape("gated_rms_norm", "weight", weight, x.shape[-1:])
    _check_options(x.shape[-1], activation, num_groups, rounding)
    how = gate_first, activation, num_groups, rounding
    y: Tensor = kernel.gated_rms_norm(x, gate, weight, eps, *how)[0]
    return y


def _check_options(width: int, activation: str, num_groups: int, rounding: str) -> None:
    if activation not in ACTIVATIONS:
        what = f"activation is {activation!r}, not one of {ACTIVATIONS}"
        raise ValueError(f"gated_rms_norm: {what}")
    if rounding not in ROUNDINGS:
        raise ValueError(f"gated_rms_norm: rounding is {rounding!r}, not one of {ROUNDINGS}")
    if num_groups < 1 or width % num_groups:
        what = f"num_groups is {num_groups}, which does not divide {width} columns"
        raise ValueError(f"gated_rms_norm: {what}")


class GatedRmsNorm(nn.Module):
    """Module form of :func:`gated_rms_norm`; it has the weight."""

    def __init__(
        self,
        width: int,
        eps: float = 1e-6,
        gate_first: bool = False,
        activation: str = "silu",
        num_groups: int = 1,
        rounding: str = "once",
    ) -> None:
        super().__init__()
        _check_options(width, activation, num_groups, rounding)
        self.width, self.eps, self.gate_first = width, eps, gate_first
        self.activation, self.num_groups, self.rounding = activation, num_groups, rounding
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        how = self.gate_first, self.activation, self.num_groups, self.rounding
        return gated_rms_norm(x, gate, self.weight, self.eps, *how)

    def extra_repr(self) -> str:
        return (
            f"{self.width}, eps={self.eps}, gate_first={self.gate_first}, "
            f"activation={self.activation!r}, num_groups={self.num_groups}, "
            f"rounding={self.rounding!r}"
        )
