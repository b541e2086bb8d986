"""linear_jsd: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(P ‖ Q) of log-probabilities; what has a probability of 0 adds nothing."""
    return (p.exp() * torch.where(p > -math.inf, p - q, 0.0)).sum(-1)


def biased_linear_jsd(
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None = None,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """y = mean(beta · KL(T ‖ M) + (1 - beta) · KL(S ‖ M)), M = beta · T + (1 - beta) · S

    S and T are the softmax of what the heads of student and teacher give; beta = 0 is KL(T ‖ S),
    beta = 1 is KL(S ‖ T). A row whose target is ignored counts for nothing, whatever its x hold.
    """
    kept = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
    if target is not None:
        kept = target != ignore_index
    flat = kept.reshape(-1)

    def log_probs(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = torch.where(flat[:, None], x.reshape(-1, x.shape[-1]), 0.0)
        return torch.log_softmax(F.linear(rows, weight, bias).float() / temperature, dim=-1)

    s = log_probs(x, weight, bias)
    t = log_probs(teacher_x, teacher_weight, teacher_bias)
    if beta == 0.0:
        loss = kl(t, s)
    elif beta == 1.0:
        loss = kl(s, t)
    else:
        m = torch.logaddexp(s + math.log(1.0 - beta), t + math.log(beta))
        loss = beta * kl(t, m) + (1.0 - beta) * kl(s, m)
    loss = torch.where(flat, loss, 0.0)
    if reduction == "none":
        return loss.reshape(kept.shape)
    return loss.sum() / kept.sum() if reduction == "mean" else loss.sum()


def linear_jsd(
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None = None,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """y = mean(beta · KL(T ‖ M) + (1 - beta) · KL(S ‖ M))"""
    return biased_linear_jsd(
        x,
        weight,
        teacher_x,
        teacher_weight,
        target,
        beta=beta,
        temperature=temperature,
        ignore_index=ignore_index,
        reduction=reduction,
    )


# What is timed is a model of 1 billion parameters that learns of one of 8: Llama 3, Qwen 3.
VOCABULARIES, HIDDEN, TEACHERS = (32000, 128256, 151936), 2048, 4096
NARROW = 24, 40  # where nothing is timed


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    hidden, teachers = (HIDDEN, TEACHERS) if cols in VOCABULARIES else NARROW
    # A third are class 0, so that a variant which ignores that class ignores many.
    target = torch.where(torch.rand(rows) < 0.3, 0, torch.randint(max(cols, 1), (rows,)))
    return (
        torch.randn(rows, hidden),
        torch.randn(cols, hidden) * hidden**-0.5,
        torch.randn(rows, teachers),
        torch.randn(cols, teachers) * teachers**-0.5,
        target,
    )


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "per token": {"reduction": "none", "ignore_index": 0},
    "sum": {"reduction": "sum", "target": None},
    "forward": {"beta": 0.0, "ignore_index": 0},
    "reverse": {"beta": 1.0, "ignore_index": 0, "temperature": 2.0},
    "ignored": {"ignore_index": 0, "beta": 0.1},
}

SPEC = OpSpec(
    name="linear_jsd",
    tier=3,
    reference=linear_jsd,
    inputs=inputs,
    tensors=("x", "weight", "teacher_x", "teacher_weight", "target"),
    differentiable=("x", "weight"),
    parameters={"beta": 0.5, "temperature": 1.0},
    variants=VARIANTS,
    products=True,
    # The logits never have to be in memory: the floor is that of four products.
    forward=Traffic(reads=0, writes=0, flops=2 * (HIDDEN + TEACHERS)),
    backward=Traffic(reads=0, writes=0, flops=4 * HIDDEN),
    shapes=((1, 1), (3, 31), (17, 100), (33, 7), (2, 8200)),
    sweep=((4096, 128256), (4096, 151936), (4096, 32000), (1024, 32000)),
)
