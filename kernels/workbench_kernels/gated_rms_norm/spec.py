"""gated_rms_norm: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


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
    """y = n(x)·weight·act(gate), or n(x·act(gate))·weight; n(u) = u / √(mean(u²) + eps)"""
    wide = x.float()
    act = F.silu(gate.float()) if activation == "silu" else torch.sigmoid(gate.float())
    if gate_first:
        wide = wide * act
    groups = wide.unflatten(-1, (num_groups, x.shape[-1] // num_groups))
    normal = groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + eps)
    normal = normal.flatten(-2)
    if rounding == "before_weight":
        normal = normal.to(x.dtype)
    scaled = normal * weight.to(normal.dtype)
    return (scaled if gate_first else scaled * act).to(x.dtype)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols), torch.rand(cols) + 0.5


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "qwen3-next": {"rounding": "before_weight"},
        "kimi-linear": {"activation": "sigmoid"},
        "mamba2": {"gate_first": True, "rounding": "before_weight"},
        "falcon-h1": {"gate_first": True, "num_groups": 2},
        "sigmoid first": {"gate_first": True, "activation": "sigmoid"},
        "groups": {"num_groups": 2},
    }
)

SPEC = OpSpec(
    name="gated_rms_norm",
    tier=2,
    reference=gated_rms_norm,
    inputs=inputs,
    tensors=("x", "gate", "weight"),
    differentiable=("x", "gate", "weight"),
    parameters={"eps": 1e-6},
    variants=VARIANTS,
    forward=Traffic(reads=2, writes=1),
    backward=Traffic(reads=3, writes=2),
    # Many narrow rows to a program, rows in pieces that are all full or not, rows in blocks. Only
    # the widest, which is tried without variants, has no two groups.
    shapes=((1, 2), (5, 8), (1100, 6), (17, 100), (2, 128), (9, 384), (3, 514), (2, 17003)),
    # Heads of Qwen3-Next and Kimi Linear; hidden sizes of Mamba2 and its like.
    sweep=((524288, 128), (65536, 1024), (16384, 4096), (16384, 5120), (8192, 7168), (256, 4096)),
)
