"""cross_entropy: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def weighted_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_log_prob: bool = False,
    return_entropy: bool = False,
    return_argmax: bool = False,
    return_accuracy: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """y = Σ weight[target] · -log softmax(input)[target] / Σ weight[target]"""
    logits = logit_scale * input.float()
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits = (logits / temperature).reshape(-1, input.shape[-1])
    flat = target.reshape(-1)
    kept = flat != ignore_index
    classes = torch.where(kept, flat, 0)
    weights = None if weight is None else weight.to(logits.dtype)
    row_weights = logits.new_ones(flat.shape) if weights is None else weights[classes]
    row_weights = torch.where(kept, row_weights, 0.0)
    log_sum = torch.logsumexp(logits, dim=-1)
    loss = F.cross_entropy(
        logits,
        flat,
        weights,
        ignore_index=ignore_index,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    if z_loss:
        loss = loss + torch.where(kept, z_loss * row_weights * log_sum.square(), 0.0)
    log_p = torch.log_softmax(logits, dim=-1)
    argmax = logits.argmax(-1)
    asked = {
        "none": loss.reshape(target.shape),
        "sum": loss.sum(),
        "mean": loss.sum() / row_weights.sum(),
    }
    extra = (
        (return_log_prob, lambda: torch.where(kept, log_p.gather(-1, classes[:, None])[:, 0], 0.0)),
        (return_entropy, lambda: -(log_p.exp() * log_p).sum(-1)),
        (return_argmax, lambda: argmax),
        (return_accuracy, lambda: ((argmax == flat) & kept).sum().float() / kept.sum()),
    )
    shapes = (target.shape, target.shape, target.shape, torch.Size())
    found = [
        make().reshape(shape) for (want, make), shape in zip(extra, shapes, strict=True) if want
    ]
    return (asked[reduction], *found) if found else asked[reduction]


def cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_log_prob: bool = False,
    return_entropy: bool = False,
    return_argmax: bool = False,
    return_accuracy: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """y = mean(-log softmax(input)[target])"""
    return weighted_cross_entropy(
        input,
        target,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        logit_scale=logit_scale,
        temperature=temperature,
        return_log_prob=return_log_prob,
        return_entropy=return_entropy,
        return_argmax=return_argmax,
        return_accuracy=return_accuracy,
    )


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    # A third are class 0, so that a variant which ignores that class ignores many.
    target = torch.where(torch.rand(rows) < 0.3, 0, torch.randint(max(cols, 1), (rows,)))
    return torch.randn(rows, cols), target


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "per token": {"reduction": "none"},
    "sum": {"reduction": "sum"},
    "ignored": {"ignore_index": 0},
    "ignored, per token": {"ignore_index": 0, "reduction": "none", "label_smoothing": 0.1},
    "pretraining": {"ignore_index": 0, "z_loss": 1e-4, "softcap": 30.0},
    "metrics": {"ignore_index": 0, "return_argmax": True, "return_accuracy": True},
    "policy": {
        "reduction": "none",
        "temperature": 0.7,
        "return_log_prob": True,
        "return_entropy": True,
    },
}

SPEC = OpSpec(
    name="cross_entropy",
    tier=2,
    reference=cross_entropy,
    inputs=inputs,
    tensors=("input", "target"),
    differentiable=("input",),
    parameters={
        "label_smoothing": 0.0,
        "z_loss": 0.0,
        "softcap": 0.0,
        "logit_scale": 1.0,
        "temperature": 1.0,
    },
    variants=VARIANTS,
    forward=Traffic(reads=1, writes=0),
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
    sweep=((8192, 32000), (16384, 32000), (8192, 50257), (8192, 128256), (8192, 151936)),
)
