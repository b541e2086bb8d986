"""linear_logprobs: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def biased_linear_logprobs(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    ignore_index: int = -100,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """log softmax(x Wᵀ + bias)[target], and -Σ p·log p

    A row whose target is ignored has 0, whatever its x holds.
    """
    flat = target.reshape(-1)
    kept = flat != ignore_index
    rows = torch.where(kept[:, None], x.reshape(-1, x.shape[-1]), 0.0)
    logits = logit_scale * F.linear(rows, weight, bias).float()
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    log_p = torch.log_softmax(logits / temperature, dim=-1)
    chosen = log_p.gather(-1, torch.where(kept, flat, 0)[:, None])[:, 0]
    log_prob = torch.where(kept, chosen, 0.0).reshape(target.shape)
    if not return_entropy:
        return log_prob
    entropy = -(log_p.exp() * log_p).sum(-1)
    return log_prob, torch.where(kept, entropy, 0.0).reshape(target.shape)


def linear_logprobs(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """y = log softmax(x Wᵀ)[target]"""
    return biased_linear_logprobs(
        x,
        weight,
        target,
        ignore_index=ignore_index,
        softcap=softcap,
        logit_scale=logit_scale,
        temperature=temperature,
        return_entropy=return_entropy,
    )


# What is timed are heads of models of 8 billion parameters: Llama 2, Llama 3, Qwen 3.
VOCABULARIES, HIDDEN = (32000, 128256, 151936), 4096
NARROW = 24  # of x where nothing is timed


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    hidden = HIDDEN if cols in VOCABULARIES else NARROW
    x, weight = torch.randn(rows, hidden), torch.randn(cols, hidden) * hidden**-0.5
    # A third are class 0, so that a variant which ignores that class ignores many.
    target = torch.where(torch.rand(rows) < 0.3, 0, torch.randint(max(cols, 1), (rows,)))
    return x, weight, target


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ignored": {"ignore_index": 0},
    "ignored, entropy": {"ignore_index": 0, "return_entropy": True},
    "policy": {"temperature": 0.7, "return_entropy": True},
    "capped": {"softcap": 2.0, "logit_scale": 3.0, "return_entropy": True},
}

SPEC = OpSpec(
    name="linear_logprobs",
    tier=3,
    reference=linear_logprobs,
    inputs=inputs,
    tensors=("x", "weight", "target"),
    differentiable=("x", "weight"),
    parameters={"softcap": 0.0, "logit_scale": 1.0, "temperature": 1.0},
    variants=VARIANTS,
    products=True,
    # The logits never have to be in memory: the floor is that of three products.
    forward=Traffic(reads=0, writes=0, flops=2 * HIDDEN),
    backward=Traffic(reads=0, writes=0, flops=4 * HIDDEN),
    shapes=((1, 1), (3, 31), (17, 100), (33, 7), (2, 8200)),
    sweep=((8192, 128256), (8192, 151936), (8192, 32000), (1024, 32000)),
)
