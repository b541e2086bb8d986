"""softmax: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def softmax(input: Tensor) -> Tensor:
    """y = eˣ / Σeˣ"""
    return torch.softmax(input, dim=-1)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="softmax",
    tier=2,
    reference=softmax,
    inputs=inputs,
    tensors=("input",),
    differentiable=("input",),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=(
        (1, 1),
        (5, 2),
        (1100, 7),
        (3, 31),
        (130, 64),
        (17, 100),
        (2, 128),
        (9, 257),
        (3, 1000),
        (4, 1024),
        (2, 4097),
        (3, 33000),
    ),
    sweep=(
        (256, 4096),
        (65536, 1024),
        (16384, 4096),
        (16384, 5120),
        (8192, 16384),
        (4096, 65536),
    ),
)
