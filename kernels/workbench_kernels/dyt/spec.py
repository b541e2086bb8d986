"""dyt: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def dyt(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = weight·tanh(alpha·x) + bias"""
    y = weight * torch.tanh(alpha * x)
    return y if bias is None else y + bias


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(1) + 0.5, torch.rand(cols) + 0.5, torch.randn(cols)


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"without bias": {"bias": None}})

SPEC = OpSpec(
    name="dyt",
    tier=2,
    reference=dyt,
    inputs=inputs,
    tensors=("x", "alpha", "weight", "bias"),
    differentiable=("x", "alpha", "weight", "bias"),
    variants=VARIANTS,
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    # Many narrow rows to a program, more columns than one holds, blocks that are full and not.
    shapes=((1, 1), (5, 2), (1100, 7), (17, 100), (2, 128), (9, 512), (3, 1031), (2, 4097)),
    # What a norm's sizes are, in whose place it is.
    sweep=(
        (65536, 1024),
        (32768, 2560),
        (16384, 4096),
        (16384, 5120),
        (8192, 7168),
        (8192, 16384),
        (256, 4096),
    ),
)
