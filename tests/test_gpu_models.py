"""On a GPU: models are served as in the interpreter, and learn the same."""

from __future__ import annotations

import pytest
import torch

from workbench.models import census

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]
# Of each kind of norm, of gated product, of rotary function and of loss, some.
TYPES = (
    "llama", "gemma2", "gpt_oss", "qwen3", "qwen3_next", "deepseek_v3", "mixtral", "phi3", "glm4",
    "cohere", "granite", "falcon_h1", "nanochat", "llama4_text", "gpt2", "bart",
)  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_a_step_is_the_same(kind: str) -> None:
    row = census.measure(kind)
    assert row.standing in ("whole", "loss"), row


@pytest.mark.parametrize("kind", TYPES[:8])
def test_a_training_is_the_same(kind: str) -> None:
    found = census.train(kind)
    assert not isinstance(found, str), found
    assert all(training.same for training in found), found
