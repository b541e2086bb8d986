"""kl_div: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def kl_div(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None = None,
    *,
    log_target: bool = False,
    from_logits: bool = False,
    reverse: bool = False,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """y = mean(target·(log target - input))"""
    log_p, log_q = input.float(), target.float()
    if from_logits:
        log_p, log_q = (torch.log_softmax(t / temperature, dim=-1) for t in (log_p, log_q))
    elif not log_target:
        log_q = log_q.log()
    if reverse:
        loss = _divergence(log_p, log_q)
    elif from_logits or log_target:
        loss = _divergence(log_q, log_p)
    else:
        loss = F.kl_div(log_p, target.float(), reduction="none").sum(-1)
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
    log_p, q = torch.randn(rows, cols).log_softmax(-1), torch.randn(rows, cols).softmax(-1)
    return log_p, q, labels


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "distillation": {
        "from_logits": True,
        "temperature": 2.0,
        "ignore_index": 0,
        "reduction": "batchmean",
    },
    "no labels": {"labels": None, "reduction": "batchmean"},
    "log target": {"log_target": True, "reduction": "sum"},
    "log target, per row": {"log_target": True, "reduction": "none", "ignore_index": 0},
    "on policy": {"from_logits": True, "reverse": True, "temperature": 0.7, "reduction": "none"},
    "reverse": {"reverse": True, "ignore_index": 0},
    "reverse, log target": {"reverse": True, "log_target": True, "reduction": "none"},
}

SPEC = OpSpec(
    name="kl_div",
    tier=2,
    reference=kl_div,
    inputs=inputs,
    tensors=("input", "target", "labels"),
    differentiable=("input",),
    variants=VARIANTS,
    forward=Traffic(reads=2, writes=0),
    backward=Traffic(reads=1, writes=1),
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
