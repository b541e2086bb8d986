"""jsd: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def jsd(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None = None,
    *,
    beta: float = 0.5,
    from_logits: bool = True,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "batchmean",
) -> Tensor:
    """y = mean((1 - beta)·KL(p‖m) + beta·KL(q‖m)), with m = (1 - beta)·p + beta·q"""
    log_p, log_q = input.float(), target.float()
    if from_logits:
        log_p, log_q = (torch.log_softmax(t / temperature, dim=-1) for t in (log_p, log_q))
    if beta == 0.0:
        loss = _divergence(log_q, log_p)
    elif beta == 1.0:
        loss = _divergence(log_p, log_q)
    elif not 0.0 < beta < 1.0:
        loss = log_p.sum(-1) * math.nan
    else:
        log_m = torch.logaddexp(log_p + math.log1p(-beta), log_q + math.log(beta))
        loss = (1.0 - beta) * _divergence(log_p, log_m) + beta * _divergence(log_q, log_m)
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


def _divergence(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a‖b), to which what has a probability of 0 in a adds nothing."""
    a = log_a.exp()
    return (a * (log_a - log_b).masked_fill(a == 0.0, 0.0)).sum(-1)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    # A third of the labels are 0, so that a variant which ignores that one ignores many.
    labels = torch.where(torch.rand(rows) < 0.3, 0, torch.randint(max(cols, 1), (rows,)))
    return torch.randn(rows, cols), torch.randn(rows, cols), labels


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ignored": {"ignore_index": 0, "beta": 0.1},
    "no labels": {"labels": None, "reduction": "mean", "beta": 0.9, "temperature": 2.0},
    "forward": {"beta": 0.0, "ignore_index": 0},
    "reverse, per row": {"beta": 1.0, "reduction": "none", "temperature": 0.7},
    "log-probabilities": {"from_logits": False, "reduction": "none", "ignore_index": 0},
    "log-probabilities, forward": {"from_logits": False, "beta": 0.0, "reduction": "sum"},
    "log-probabilities, reverse": {"from_logits": False, "beta": 1.0},
}

SPEC = OpSpec(
    name="jsd",
    tier=2,
    reference=jsd,
    inputs=inputs,
    tensors=("input", "target", "labels"),
    differentiable=("input",),
    parameters={"beta": 0.5, "temperature": 1.0},
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
