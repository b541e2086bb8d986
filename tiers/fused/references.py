"""Operations beyond one pass over rows, known by name: matrix products, gathers, sorts and scans.

The first or second tensor is (rows, cols); `<name>_inputs` draws the ones that aren't.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """y = x·weightᵀ"""
    return F.linear(x, weight)


def linear_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(24, cols)


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """y = softmax(query·keyᵀ / √cols)·value"""
    scores = query @ key.T / query.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1) @ value


def cross_entropy(input: Tensor, target: Tensor) -> Tensor:
    """y = log Σ exp(input) - input[target]"""
    return F.cross_entropy(input, target, reduction="none")


def cross_entropy_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randint(cols, (rows,))


def linear_cross_entropy(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """y = log Σ exp(z) - z[target], with z = hidden·weightᵀ"""
    return F.cross_entropy(hidden @ weight.T, target, reduction="none")


def linear_cross_entropy_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(24, cols), torch.randint(24, (rows,))


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """y = [a·cos - b·sin, b·cos + a·sin], with x = [a, b]"""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def rope_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    angle = torch.randn(rows, cols)
    return torch.randn(rows, 2 * cols), angle.cos(), angle.sin()


def embedding(weight: Tensor, index: Tensor) -> Tensor:
    """y = weight[index]"""
    return F.embedding(index, weight)


def embedding_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randint(rows, (24,))


def cumsum_softmax(x: Tensor) -> Tensor:
    """yⱼ = Σ softmax(x)ᵢ over i ≤ j"""
    return torch.softmax(x, dim=-1).cumsum(-1)


def topk_softmax(x: Tensor) -> Tensor:
    """y = softmax over the four largest of a row"""
    return torch.softmax(x.topk(4, dim=-1).values, dim=-1)


def sparsemax(x: Tensor) -> Tensor:
    """y = max(x - τ, 0), with τ such that Σy = 1"""
    ordered = x.sort(dim=-1, descending=True).values
    rank = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
    candidates = (ordered.cumsum(-1) - 1) / rank
    size = (ordered > candidates).sum(-1, keepdim=True)
    return torch.relu(x - candidates.gather(-1, size - 1))
