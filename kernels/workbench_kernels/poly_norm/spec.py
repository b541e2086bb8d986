"""poly_norm: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def poly_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-6) -> Tensor:
    """y = weight₀·n(x³) + weight₁·n(x²) + weight₂·n(x) + bias, with n(u) = u / √(mean(u²) + eps)"""
    wide = x.float()
    cube, square, line = (_normalise(wide**power, eps) for power in (3, 2, 1))
    third, second, first = weight.float()
    return (third * cube + second * square + first * line + bias.float()).to(x.dtype)


def _normalise(u: Tensor, eps: float) -> Tensor:
    return u * torch.rsqrt(u.square().mean(-1, keepdim=True) + eps)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(3) + 0.25, torch.randn(1)


SPEC = OpSpec(
    name="poly_norm",
    tier=2,
    reference=poly_norm,
    inputs=inputs,
    tensors=("x", "weight", "bias"),
    differentiable=("x", "weight", "bias"),
    parameters={"eps": 1e-6},
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    # Many narrow rows to a program, rows in pieces that are all full or not, rows in blocks.
    shapes=((1, 1), (5, 2), (1100, 7), (17, 100), (2, 128), (9, 384), (3, 257), (2, 17003)),
    # What a norm's sizes are; last what fits into a cache, where little is gained.
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
