"""qk_norm_rope: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def qk_norm_rope_of_any_table(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-6,
    offset: float = 0.0,
    pairing: str = "half",
    per_pair: bool = False,
    sections: Sequence[int] = (),
    heads_dim: int = -2,
) -> tuple[Tensor, Tensor]:
    """The same with tables of one value per pair, or of an axis for each of several sections."""
    tables = [cos.float(), sin.float()]
    if sections:
        tables = [_select(table, sections, per_pair, pairing) for table in tables]
    if per_pair:
        tables = [_for_both(table, pairing) for table in tables]
    rotary = tables[0].shape[-1]
    if rotary % 2 or rotary > q.shape[-1]:
        raise ValueError(f"{rotary} of {q.shape[-1]} features can't be rotated in pairs")
    cos, sin = (_for_heads(table, q.ndim, heads_dim) for table in tables)
    normal = (_normalise(x, weight, eps, offset) for x, weight in ((q, q_weight), (k, k_weight)))
    yq, yk = (_rotate(x, cos, sin, pairing) for x in normal)
    return yq.to(q.dtype), yk.to(k.dtype)


def _normalise(x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor:
    wide = x.float()
    rstd = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return wide * rstd * (weight.float() + offset)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, pairing: str) -> Tensor:
    rotary = cos.shape[-1]
    wide = x[..., :rotary].float()
    if pairing == "interleaved_to_half":
        wide = torch.cat([wide[..., 0::2], wide[..., 1::2]], -1)
    if pairing == "interleaved":
        other = torch.stack([-wide[..., 1::2], wide[..., 0::2]], -1).flatten(-2)
    else:
        other = torch.cat([-wide[..., rotary // 2 :], wide[..., : rotary // 2]], -1)
    return torch.cat([(wide * cos + other * sin).to(x.dtype), x[..., rotary:]], -1)


def _select(table: Tensor, sections: Sequence[int], per_pair: bool, pairing: str) -> Tensor:
    """Of each section's pairs the values of its axis, the first dimension."""
    axes = torch.arange(len(sections), device=table.device).repeat_interleave(
        torch.tensor(sections, device=table.device)
    )
    columns = axes if per_pair else _for_both(axes, pairing)
    return table.gather(0, columns.expand(1, *table.shape[1:])).squeeze(0)


def _for_both(table: Tensor, pairing: str) -> Tensor:
    """One value per pair as one per feature."""
    if pairing == "interleaved":
        return table.repeat_interleave(2, -1)
    return torch.cat([table, table], -1)


def _for_heads(table: Tensor, ndim: int, heads_dim: int) -> Tensor:
    """(..., tokens, features), made to be broadcast over heads."""
    missing = ndim - 1 - table.ndim
    return table[(None,) * max(0, missing)].unsqueeze(heads_dim % ndim)


def qk_norm_rope(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-6,
    offset: float = 0.0,
    pairing: str = "half",
    heads_dim: int = -2,
) -> tuple[Tensor, Tensor]:
    """n = x / √(mean(x²) + eps)·(w + offset), whose pairs are then turned, for every head x"""
    return qk_norm_rope_of_any_table(
        q, k, q_weight, k_weight, cos, sin, eps, offset, pairing=pairing, heads_dim=heads_dim
    )


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    """Rows are tokens, cols is what the tables are wide; narrow tables leave a part of each head
    without rotation.
    """
    heads, kv_heads = (32, 8) if 64 <= cols <= 128 else (5, 2) if cols < 2048 else (1, 1)
    width = cols if cols > 16 else 2 * cols
    angles = 6.3 * torch.rand(rows, cols)
    q, k = torch.randn(rows, heads, width), torch.randn(rows, kv_heads, width)
    return q, k, torch.rand(width) + 0.5, torch.rand(width) + 0.5, angles.cos(), angles.sin()


VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "interleaved": {"pairing": "interleaved"},
        "interleaved to half": {"pairing": "interleaved_to_half"},
        "heads by number": {"heads_dim": 1},
    }
)

SPEC = OpSpec(
    name="qk_norm_rope",
    tier=3,
    reference=qk_norm_rope,
    inputs=inputs,
    tensors=("q", "k", "q_weight", "k_weight", "cos", "sin"),
    differentiable=("q", "k", "q_weight", "k_weight"),
    parameters={"eps": 1e-6, "offset": 0.0},
    variants=VARIANTS,
    # 32 and 8 heads for one table of cosines and one of sines.
    forward=Traffic(reads=42, writes=40),
    backward=Traffic(reads=82, writes=40),
    shapes=((1, 2), (3, 8), (17, 40), (270, 6), (2, 514), (5, 64)),
    sweep=((2048, 128), (8192, 128), (32768, 128), (32768, 64)),
)
