"""fused_add_rms_norm: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def fused_add_rms_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    offset: float = 0.0,
    rounding: str = "once",
) -> tuple[Tensor, Tensor]:
    """y = s / √(mean(s²) + eps)·(weight + offset), and s = x + residual"""
    total = x + residual
    wide = total.float()
    normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight is None:
        return normal.to(x.dtype), total
    if rounding == "before_weight":
        return normal.to(x.dtype) * (weight + offset), total
    return (normal * (weight.float() + offset)).to(x.dtype), total


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols), torch.rand(cols) + 0.5


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": {"rounding": "before_weight"},
        "gemma": {"offset": 1.0},
        "weightless": {"weight": None},
    }
)

SPEC = OpSpec(
    name="fused_add_rms_norm",
    tier=2,
    reference=fused_add_rms_norm,
    inputs=inputs,
    tensors=("x", "residual", "weight"),
    differentiable=("x", "residual", "weight"),
    parameters={"eps": 1e-6, "offset": 0.0},
    variants=VARIANTS,
    forward=Traffic(reads=2, writes=2),
    backward=Traffic(reads=3, writes=1),
    # Many narrow rows to a program, rows in pieces that are all full or not, rows in blocks.
    shapes=((1, 1), (5, 2), (1100, 7), (17, 100), (2, 128), (9, 384), (3, 257), (2, 17003)),
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
