"""Whether the fused loss is as exact as PyTorch's, for a head like a model's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench_kernels import bound
from workbench_kernels.patching.causal import causal_loss, is_causal
from workbench_kernels.patching.lazy import LazyLogits
from workbench_kernels.patching.lazy_head import LazyHead, why_real

_SEQUENCES, _TOKENS, _CLASSES = 2, 32, 64
_ITEMS = 48  # what the sum of the loss is divided by

Loss = Callable[[Tensor, Tensor], Tensor]


def prove(model: nn.Module, head: nn.Module) -> float | str:
    """How far the fused loss and its gradients are from the truth, in float64, by how far PyTorch's
    are, as `bound.compare_one` has it; or why it must be left alone.

    Tried is the model's loss on a head of the same width, dtype and device, but of few classes and
    with weights of its own: the model's may be elsewhere.
    """
    if not isinstance(head, nn.Linear):
        return f"the head is {type(head).__name__}, not nn.Linear"
    tensors, labels = _drawn(head)
    original = getattr(model, "loss_function", None)
    theirs: Loss = _summed
    ours: Loss = _summed
    if original is not None and is_causal(original):
        options: dict[str, Any] = {"vocab_size": _CLASSES, "num_items_in_batch": _ITEMS}
        theirs, ours = partial(original, **options), partial(causal_loss, original, **options)
    with torch.enable_grad():
        trial = _head(tensors)
        why = why_real(trial, tensors[0], trial.weight, trial.bias)
        if why:
            return why
        logits = LazyHead(trial)(tensors[0].requires_grad_())
        loss = ours(logits, labels)
        if not isinstance(logits, LazyLogits) or logits.deferred.real is not None:
            return "its loss needs the logits"
        got = _with_gradients(loss, [tensors[0], *_parameters(trial)])
        eager = _computed(theirs, tensors, labels)
        truth = _computed(_summed, [t.double() for t in tensors], labels)
    worst = 0.0
    for name in got:
        slack = (eager[name].double() - truth[name]).abs()
        comparison = bound.compare_one(name, got[name], eager[name], truth[name], slack)
        if comparison.message:
            return comparison.message
        worst = max(worst, comparison.ratio)
    return worst


def _drawn(head: nn.Linear) -> tuple[list[Tensor], Tensor]:
    """x, weight and bias if there is one, of the head's dtype and device, and labels."""
    generator = torch.Generator().manual_seed(0)
    device, dtype, hidden = head.weight.device, head.weight.dtype, head.in_features
    shapes = [(_SEQUENCES, _TOKENS, hidden), (_CLASSES, hidden)]
    shapes += [(_CLASSES,)] if head.bias is not None else []  # type: ignore[list-item]
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    tensors[1] *= hidden**-0.5
    labels = torch.randint(_CLASSES, (_SEQUENCES, _TOKENS), generator=generator)
    labels[:, ::5] = -100
    return [t.to(device, dtype) for t in tensors], labels.to(device)


def _head(tensors: list[Tensor]) -> nn.Linear:
    _, weight, *bias = tensors
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=bool(bias), device="meta")
    head.weight = nn.Parameter(weight)
    if bias:
        head.bias = nn.Parameter(bias[0])
    return head


def _parameters(head: nn.Linear) -> list[Tensor]:
    return [head.weight] if head.bias is None else [head.weight, head.bias]


def _summed(logits: Tensor, labels: Tensor) -> Tensor:
    """The causal loss, in the dtype of the logits."""
    shifted = F.pad(labels, (0, 1), value=-100)[..., 1:].reshape(-1)
    summed = F.cross_entropy(logits.view(-1, _CLASSES), shifted, reduction="sum")
    return summed / _ITEMS


def _computed(loss: Loss, tensors: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    return _with_gradients(loss(F.linear(*leaves), labels), leaves)


def _with_gradients(loss: Tensor, leaves: list[Tensor]) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(loss, leaves)
    names = ("dx", "dweight", "dbias")
    return {"loss": loss.detach(), **dict(zip(names, gradients, strict=False))}
