"""group_norm: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def group_norm(
    input: Tensor,
    num_groups: int = 1,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)·weight + bias, over each group of channels"""
    if weight is None and bias is not None:
        weight = torch.ones_like(bias)  # PyTorch 2.13 has no gradient without it
    return F.group_norm(input, num_groups, weight, bias, eps)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    """Rows are images, cols their channels' positions: of sixteen channels, or fewer, if so many
    divide them; else every column is a channel.
    """
    channels = next((n for n in (16, 8, 4) if cols % n == 0), cols)
    x = torch.randn(rows, channels, cols // max(1, channels))
    return x, torch.rand(channels) + 0.5, torch.randn(channels)


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "two groups": {"num_groups": 2},
        "four groups": {"num_groups": 4},
        "without weight": {"weight": None, "num_groups": 2},
        "without bias": {"bias": None, "num_groups": 2},
        "plain": {"weight": None, "bias": None},
    }
)

SPEC = OpSpec(
    name="group_norm",
    tier=2,
    reference=group_norm,
    inputs=inputs,
    tensors=("input", "weight", "bias"),
    differentiable=("input", "weight", "bias"),
    parameters={"num_groups": 1, "eps": 1e-5},
    variants=VARIANTS,
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    # Channels of one position and of many, all of a group at once and not, a row without groups.
    shapes=((1, 8), (5, 8), (20, 12), (2, 128), (3, 1568), (3, 260), (2, 4112), (2, 17003)),
    # As much for each group as 16 of 512 channels have of images of 64, 32, 128 and 14 squared.
    sweep=((2048, 65536), (8192, 16384), (512, 262144), (32768, 3136)),
)
