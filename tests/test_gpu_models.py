"""On a GPU: models are served as in the interpreter, and learn the same."""

from __future__ import annotations

import pytest
import torch
from calls import Calls

from workbench.models import census, steps
from workbench_kernels.patching import patch
from workbench_kernels.patching.checkpoints import keep_attention
from workbench_kernels.patching.verdicts import Verdicts

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


def test_the_census_runs_beside_cuda() -> None:
    """CUDA was looked at in this process, which its processes must not be forked from."""
    torch.zeros(1, device="cuda")
    found = census.census(["llama", "qwen3"], lambda kind: None)
    assert [row.standing for row in found.rows] == ["whole", "whole"], found.rows


def test_a_gated_mlp_needs_less_memory() -> None:
    """At its peak by two tensors as wide as gate at the least: neither the activation nor the
    product is kept, and gradients lie over what they are of.
    """
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    rows, hidden, inner = 8192, 1024, 4096
    mlp = LlamaMLP(LlamaConfig(hidden_size=hidden, intermediate_size=inner))
    mlp.to("cuda", torch.bfloat16)

    def peak() -> int:
        x = torch.randn(rows, hidden, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        mlp(x).sum().backward()  # compiled, and libraries have their workspace
        mlp.zero_grad()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        mlp(x).sum().backward()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    plain = peak()
    patch(mlp, verdicts=Verdicts())
    assert peak() <= plain - 2 * rows * inner * 2


TINY = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1024,
}


def test_steps_are_timed() -> None:
    """Liger's, if it is installed; else it says so."""
    setting = steps.Setting(type="llama", config=TINY, rows=2, tokens=256)
    found = steps.measure(setting, 3, 2**20, lambda timed: None)
    plain, liger, *others = found.timed
    for timed in (plain, *others) if "not installed" in liger.problem else found.timed:
        assert len(timed.seconds) == 3 and timed.peak > 0, timed.problem
        assert timed.losses == pytest.approx(plain.losses, rel=1e-2)


@pytest.mark.parametrize("served", [False, True])
def test_checkpoints_keep_attention(served: bool) -> None:
    """Whichever kernel PyTorch takes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = torch.randint(1024, (2, 256), device="cuda")

    def attentions(given: dict[str, object]) -> int:
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**TINY)).to("cuda", torch.bfloat16).train()
        if served:
            patch(model, verdicts=Verdicts())
        model.activation_checkpointing_enable(given)
        with Calls() as calls:
            model(input_ids=tokens, labels=tokens).loss.backward()
        forward = [op for op in calls.ops if op.startswith("_scaled_dot_product_")]
        return sum(calls.ops[op] for op in forward if not op.endswith("_backward"))

    assert attentions({"use_reentrant": False}) == 4
    assert attentions(keep_attention()) == 2
