"""tvd: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def tvd(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None = None,
    *,
    from_logits: bool = True,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "batchmean",
) -> Tensor:
    """y = mean(½·Σ|softmax(input) - softmax(target)|)"""
    p, q = input.float(), target.float()
    if from_logits:
        p, q = (torch.softmax(t / temperature, dim=-1) for t in (p, q))
    else:
        p, q = p.exp(), q.exp()
    loss = 0.5 * (p - q).abs().sum(-1)
    counted = torch.ones_like(loss) if labels is None else (labels != ignore_index).to(loss.dtype)
    loss = torch.where(counted == 0.0, 0.0, loss)
    match reduction:
        case "none":
            return loss
        case "sum":
            return loss.sum()
        case "batchmean":
            return loss.sum() / counted.sum()
        case _:
            return loss.sum() / (counted.sum() * input.shape[-1])


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    # A third of the labels are 0, so that a variant which ignores that one ignores many.
    labels = torch.where(torch.rand(rows) < 0.3, 0, torch.randint(max(cols, 1), (rows,)))
    return torch.randn(rows, cols), torch.randn(rows, cols), labels


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ignored": {"ignore_index": 0},
    "no labels": {"labels": None, "reduction": "mean", "temperature": 2.0},
    "per row": {"reduction": "none", "temperature": 0.7},
    "log-probabilities": {"from_logits": False, "reduction": "none", "ignore_index": 0},
    "log-probabilities, sum": {"from_logits": False, "reduction": "sum"},
}

SPEC = OpSpec(
    name="tvd",
    tier=2,
    reference=tvd,
    inputs=inputs,
    tensors=("input", "target", "labels"),
    differentiable=("input",),
    parameters={"temperature": 1.0},
    variants=VARIANTS,
    forward=Traffic(reads=2, writes=0),
    backward=Traffic(reads=2, writes=1),
    shapes=(
        (1, 1),
        (5, 2),
        (1100, 7),
        (3, 31),
        (17, 100),
        (9, 257),
        (3, 1000),
        (4, 1024),
        (2, 4097),
        (2, 17003),
    ),
    sweep=((4096, 32000), (8192, 32000), (8192, 50257), (4096, 128256), (4096, 151936)),
)
