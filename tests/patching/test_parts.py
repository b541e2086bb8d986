"""Models that are a part of others: with no head, they have no loss that could be served."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from workbench.models import census, tiny
from workbench_kernels.patching import patch
from workbench_kernels.patching.verdicts import Verdicts

TEXTS = (
    "MllamaTextModel",
    "Qwen2VLTextModel",
    "Qwen2_5_VLTextModel",
    "Qwen3VLTextModel",
    "Qwen3VLMoeTextModel",
)


def build(name: str) -> nn.Module:
    """A tiny one; rotary sections of positions in pictures are of heads 128 wide."""
    made: Any = getattr(transformers, name)
    wide = {"hidden_size": 256, "num_attention_heads": 2, "head_dim": 128, "num_key_value_heads": 2}
    small = tiny._SMALL | (wide if name.startswith("Qwen2") else {})
    torch.manual_seed(0)
    config = tiny._shrunk(made.config_class, small)
    model: nn.Module = made._from_config(config, attn_implementation="eager").float().train()
    return model


def step(model: nn.Module, given: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Shares of the hidden states, their sizes added up, for by their signs they cancel; and the
    gradients of their sum: of their squares, after a norm, it would be all rounding.
    """
    model.zero_grad()
    hidden: Tensor = model(**given).last_hidden_state
    shares = hidden * torch.linspace(0, 1, hidden.numel()).view_as(hidden)
    shares.sum().backward()
    named = model.named_parameters()
    return shares.detach().abs().sum(), {n: p.grad.clone() for n, p in named if p.grad is not None}


@pytest.mark.parametrize("name", [*TEXTS, "PixtralVisionModel"])
def test_a_part_is_served_whole(name: str) -> None:
    model = build(name)
    given = {"input_ids": tiny.batch(torch.device("cpu"))["input_ids"]}
    if name not in TEXTS:
        size = 2 * model.config.patch_size  # type: ignore[union-attr,operator]
        given = {"pixel_values": torch.randn(1, 3, size, size)}
    before = step(model, given)
    report = patch(model, verdicts=Verdicts(), strict=True)
    assert {entry.kind for entry in report.served} >= {"norm", "rope"}
    assert not census.difference(before, step(model, given))
