"""linear_cross_entropy: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def biased_linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    class_weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_argmax: bool = False,
    return_accuracy: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """y = Σ w[target] · -log softmax(x Wᵀ + bias)[target] / Σ w[target]

    A row whose target is ignored counts for nothing, whatever its x holds; its argmax is -1.
    """
    flat = target.reshape(-1)
    kept = flat != ignore_index
    rows = torch.where(kept[:, None], x.reshape(-1, x.shape[-1]), 0.0)
    logits = logit_scale * F.linear(rows, weight, bias).float()
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits / temperature
    weights = None if class_weight is None else class_weight.to(logits.dtype)
    row_weights = torch.ones_like(logits[:, 0])
    if weights is not None:
        row_weights = weights[torch.where(kept, flat, 0)]
    row_weights = torch.where(kept, row_weights, 0.0)
    loss = F.cross_entropy(
        logits,
        flat,
        weights,
        ignore_index=ignore_index,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    if z_loss:
        squares = torch.logsumexp(logits, dim=-1).square()
        loss = loss + torch.where(kept, z_loss * row_weights * squares, 0.0)
    argmax = torch.where(kept, logits.argmax(-1), -1)
    asked = {
        "none": loss.reshape(target.shape),
        "sum": loss.sum(),
        "mean": loss.sum() / row_weights.sum(),
    }
    found = [argmax.reshape(target.shape)] if return_argmax else []
    if return_accuracy:
        found.append(((argmax == flat) & kept).sum().float() / kept.sum())
    return (asked[reduction], *found) if found else asked[reduction]


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_argmax: bool = False,
    return_accuracy: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """y = mean(-log softmax(x Wᵀ)[target])"""
    return biased_linear_cross_entropy(
        x,
        weight,
        target,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        logit_scale=logit_scale,
        temperature=temperature,
        return_argmax=return_argmax,
        return_accuracy=return_accuracy,
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
    "per token": {"reduction": "none"},
    "sum": {"reduction": "sum"},
    "ignored": {"ignore_index": 0},
    "ignored, per token": {"ignore_index": 0, "reduction": "none", "label_smoothing": 0.1},
    "pretraining": {"ignore_index": 0, "z_loss": 1e-4, "softcap": 30.0},
    "metrics": {"ignore_index": 0, "return_argmax": True, "return_accuracy": True},
}

SPEC = OpSpec(
    name="linear_cross_entropy",
    tier=3,
    reference=linear_cross_entropy,
    inputs=inputs,
    tensors=("x", "weight", "target"),
    differentiable=("x", "weight"),
    parameters={
        "label_smoothing": 0.0,
        "z_loss": 0.0,
        "softcap": 0.0,
        "logit_scale": 1.0,
        "temperature": 1.0,
    },
    variants=VARIANTS,
    products=True,
    # The logits never have to be in memory: the floor is that of three products.
    forward=Traffic(reads=0, writes=0, flops=2 * HIDDEN),
    backward=Traffic(reads=0, writes=0, flops=4 * HIDDEN),
    shapes=((1, 1), (3, 31), (17, 100), (33, 7), (2, 5100)),
    sweep=((8192, 128256), (8192, 151936), (8192, 32000), (1024, 32000)),
)
