"""layer_norm: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def layer_norm(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)·weight + bias"""
    return F.layer_norm(input, input.shape[-1:], weight, bias, eps)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(cols) + 0.5, torch.randn(cols)


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "without bias": {"bias": None},
        "without weight": {"weight": None},
        "plain": {"weight": None, "bias": None},
    }
)

SPEC = OpSpec(
    name="layer_norm",
    tier=2,
    reference=layer_norm,
    inputs=inputs,
    tensors=("input", "weight", "bias"),
    differentiable=("input", "weight", "bias"),
    parameters={"eps": 1e-5},
    variants=VARIANTS,
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
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
