"""rms_norm: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def rms_norm(
    input: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    offset: float = 0.0,
    rounding: str = "once",
) -> Tensor:
    """y = x / √(mean(x²) + eps)·(weight + offset)"""
    wide = input.float()
    normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is None:
        return normal.to(input.dtype)
    if rounding == "before_weight":
        return normal.to(input.dtype) * (weight + offset)
    return (normal * (weight.float() + offset)).to(input.dtype)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(cols) + 0.5


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": {"rounding": "before_weight"},
        "gemma": {"offset": 1.0},
        "weightless": {"weight": None},
    }
)

SPEC = OpSpec(
    name="rms_norm",
    tier=2,
    reference=rms_norm,
    inputs=inputs,
    tensors=("input", "weight"),
    differentiable=("input", "weight"),
    parameters={"eps": 1e-6, "offset": 0.0},
    variants=VARIANTS,
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    # Many narrow rows to a program, widths beside powers of two, rows that no program can hold.
    shapes=((1, 1), (5, 2), (1100, 7), (17, 100), (2, 128), (9, 257), (2, 4097), (3, 17003)),
    # Norms of heads; hidden sizes of models; last what fits into a cache, where little is gained.
    sweep=(
        (524288, 128),
        (65536, 1024),
        (32768, 2560),
        (16384, 4096),
        (16384, 5120),
        (8192, 7168),
        (8192, 16384),
        (256, 4096),
    ),
)
