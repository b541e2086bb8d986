"""A step of a tiny model of `workbench.models.tiny`, with all that its forward gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workbench.models import census, tiny

VOCABULARY, build = tiny.VOCABULARY, tiny.build
Step = tuple[Any, dict[str, Tensor]]


def batch() -> dict[str, Tensor]:
    """Rows of tokens and their labels."""
    return tiny.batch(torch.device("cpu"))


def step(model: nn.Module, **inputs: Any) -> Step:
    """The output and the gradients of one step."""
    torch.manual_seed(2)
    model.zero_grad()
    output = model(**{**batch(), **inputs})
    output.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return output, gradients


def difference(theirs: Step, ours: Step) -> str:
    """What is not the same of two steps; empty for nothing."""
    one, other = ((output.loss.detach(), gradients) for output, gradients in (theirs, ours))
    return census.difference(one, other)
