"""glu: its reference, the inputs that test it, its variants, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Option, Traffic


def glu(
    gate: Tensor,
    up: Tensor | None = None,
    activation: str = "silu",
    interleaved: bool = False,
    limit: float | None = None,
    alpha: float = 1.0,
    up_offset: float = 0.0,
) -> Tensor:
    """y = act(min(gate, limit))·(clamp(up, ±limit) + up_offset), silu(g) = g·sigmoid(alpha·g)"""
    if up is None:
        gate, up = _parts(gate, interleaved)
    if limit is not None:
        gate, up = gate.clamp(max=limit), up.clamp(min=-limit, max=limit)
    if up_offset:
        up = up + up_offset
    return _activate(gate, activation, alpha) * up


def _parts(both: Tensor, interleaved: bool) -> tuple[Tensor, ...]:
    """gate and up; an error where they would not be equally wide."""
    sizes, dim = ((-1, 2), -1) if interleaved else ((2, -1), -2)
    parts: tuple[Tensor, ...] = both.unflatten(-1, sizes).unbind(dim)
    return parts


def _activate(gate: Tensor, activation: str, alpha: float) -> Tensor:
    if activation == "silu":
        return F.silu(gate) if alpha == 1.0 else gate * torch.sigmoid(alpha * gate)
    if activation.startswith("gelu"):
        return F.gelu(gate, approximate="tanh" if activation == "gelu_tanh" else "none")
    return F.relu(gate) if activation == "relu" else F.relu(gate).square()


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols)


# The limits are such that one in six of what is drawn is beyond them.
VARIANTS: Mapping[str, Mapping[str, Option]] = MappingProxyType(
    {
        "gelu": {"activation": "gelu"},
        "gelu_tanh": {"activation": "gelu_tanh"},
        "relu": {"activation": "relu"},
        "relu2": {"activation": "relu2"},
        "limited": {"limit": 1.0},
        "limited relu2": {"activation": "relu2", "limit": 1.0},
        "halves": {"up": None},
        "interleaved": {"up": None, "interleaved": True},
        "gpt-oss": {
            "up": None,
            "interleaved": True,
            "limit": 1.0,
            "alpha": 1.702,
            "up_offset": 1.0,
        },
    }
)

SPEC = OpSpec(
    name="glu",
    tier=1,
    reference=glu,
    inputs=inputs,
    tensors=("gate", "up"),
    differentiable=("gate", "up"),
    parameters={"alpha": 1.0, "up_offset": 0.0},
    variants=VARIANTS,
    forward=Traffic(reads=2, writes=1),
    backward=Traffic(reads=3, writes=2),
    # Of an odd width there are no halves, so such a size is wider than what variants are tried at.
    shapes=((1, 2), (3, 18), (129, 62), (5, 128), (2, 4098), (2, 5001)),
    sweep=((1024, 4096), (8192, 4096), (8192, 11008), (8192, 14336)),
)
