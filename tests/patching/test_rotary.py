"""Rotary functions of models: proven, served for one instance, and everything else as it was."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rotary_cases import Launches
from torch import Tensor, nn

from workbench_kernels import testing
from workbench_kernels.patching import patch, unpatch
from workbench_kernels.patching.verdicts import Verdicts

transformers = pytest.importorskip("transformers")

SMALL = dict(
    hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, vocab_size=40, pad_token_id=0,
)  # fmt: skip
LATENT = dict(
    num_key_value_heads=4, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=8,
    v_head_dim=8, head_dim=4,
)  # fmt: skip
PARTIAL = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
}
# Each with what is particular to its rotation, and how often the model calls it.
MODELS: dict[str, tuple[dict[str, Any], str, int]] = {
    "Llama": ({}, "half", 2),
    "GPTNeoX": (PARTIAL, "half", 2),
    "Phi": (PARTIAL, "half", 2),
    "Glm": (PARTIAL | {"head_dim": 8}, "interleaved", 2),
    "Cohere": ({}, "interleaved", 2),
    "GptOss": ({"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}, "half", 2),
    "DeepseekV3": (LATENT | {"first_k_dense_replace": 2}, "interleaved_to_half", 2),
    "Llama4Text": (
        {"head_dim": 8, "moe_layers": [], "intermediate_size_mlp": 32, "no_rope_layers": [1, 1]},
        "interleaved", 2,
    ),
    "SmolLM3": ({"no_rope_layers": [1, 0]}, "half", 1),
    "NanoChat": ({}, "half", 2),
    "Gemma4Text": (
        {"head_dim": 8, "global_head_dim": 8, "vocab_size_per_layer_input": 40,
         "hidden_size_per_layer_input": 4, "layer_types": ["sliding_attention", "full_attention"]},
        "half", 4,
    ),
}  # fmt: skip


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts()


def _build(name: str, **options: Any) -> Any:
    config = getattr(transformers, f"{name}Config", None)
    kind = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM", None)
    if config is None or kind is None:
        pytest.skip(f"there is no {name}")
    torch.manual_seed(0)
    return kind(config(**SMALL | options)).to(testing.device()).eval()


def _ids() -> Tensor:
    return torch.arange(1, 13, device=testing.device()).view(2, 6)


def _run(model: nn.Module) -> tuple[Tensor, dict[str, Tensor], int]:
    """Logits, gradients by name, and how often rope was launched."""
    model.zero_grad()
    with Launches() as launches:
        out = model(input_ids=_ids(), labels=_ids(), use_cache=False)
    out.loss.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return out.logits.detach(), grads, launches.count


@pytest.mark.parametrize("name", MODELS)
def test_models_give_what_they_gave(name: str, verdicts: Verdicts) -> None:
    options, pairing, calls = MODELS[name]
    model = _build(name, **options)
    logits, grads, before = _run(model)
    report = patch(model, only=["rope"], verdicts=verdicts)
    assert report.served and not report.left, report
    assert f"{pairing} pairs" in report.served[0].verdict.mode
    patched_logits, patched_grads, launched = _run(model)
    assert (before, launched) == (0, calls)
    # Products and sums round in another order, and what that comes to goes through two layers.
    torch.testing.assert_close(patched_logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(patched_grads, grads, rtol=1e-3, atol=1e-5)


def test_models_in_bfloat16(verdicts: Verdicts) -> None:
    model = _build("Llama").bfloat16()
    logits, _, _ = _run(model)
    patch(model, only=["rope"], verdicts=verdicts)
    patched, _, launched = _run(model)
    assert launched == 2
    torch.testing.assert_close(patched, logits, rtol=2e-2, atol=2e-2)


def test_under_autocast_it_is_promoted_as_before(verdicts: Verdicts) -> None:
    """Tables in float32 turn a bfloat16 query into a float32 one."""
    model = _build("Llama")
    patch(model, only=["rope"], verdicts=verdicts)
    with torch.autocast(testing.device().type, torch.bfloat16), Launches() as launches:
        patched = model(input_ids=_ids()).logits
        unpatch(model)
        torch.testing.assert_close(patched, model(input_ids=_ids()).logits, rtol=2e-2, atol=2e-2)
    assert launches.count == 2


def test_complex_tables_are_compiled(verdicts: Verdicts) -> None:
    options, _, _ = MODELS["Llama4Text"]
    model = _build("Llama4Text", **options)
    patch(model, only=["rope"], verdicts=verdicts)
    seen = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    def attend(attention: nn.Module) -> Tensor:
        y: Tensor = attention(states, table.conj(), None)[0]
        return y

    states = torch.rand(2, 3, 32, device=testing.device())
    table = torch.rand(2, 3, 4, dtype=torch.complex64, device=testing.device())
    attention = model.model.layers[0].self_attn
    compiled = torch.compile(attend, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(attention), attend(attention))
    assert sum("rope" in target for target in seen) == 1


def test_sections_of_a_multimodal_model(verdicts: Verdicts) -> None:
    """Its tables are put together before attention, for each section of other positions."""
    text = SMALL | {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    }
    config = transformers.Qwen2VLTextConfig(**text)
    torch.manual_seed(0)
    model = transformers.Qwen2VLTextModel(config).to(testing.device()).eval()
    states = torch.randn(2, 6, 32, device=testing.device())
    positions = torch.randint(0, 50, (3, 2, 6), device=testing.device())
    wanted = model(inputs_embeds=states, position_ids=positions).last_hidden_state
    assert len(patch(model, only=["rope"], verdicts=verdicts).served) == 2
    with Launches() as launches:
        got = model(inputs_embeds=states, position_ids=positions).last_hidden_state
    assert launches.count == 2
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_unpatch_is_exact_and_other_models_are_untouched(verdicts: Verdicts) -> None:
    model, other = _build("Llama"), _build("Llama")
    attention = model.model.layers[0].self_attn
    known = dict(type(attention).forward.__wrapped__.__globals__)
    before = dict(vars(attention))
    patch(model, only=["rope"], verdicts=verdicts)
    _, _, launched = _run(other)
    assert launched == 0
    assert vars(attention).keys() != before.keys()
    unpatch(model)
    assert vars(attention) == before
    assert dict(type(attention).forward.__wrapped__.__globals__) == known


def test_layers_share_one_copy_which_is_compiled_once(verdicts: Verdicts) -> None:
    model = _build("Llama")
    patch(model, only=["rope"], verdicts=verdicts)
    first, second = (layer.self_attn for layer in model.model.layers)
    assert vars(first)["_workbench_kernels"] is vars(second)["_workbench_kernels"]
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward

    def attend(attention: nn.Module) -> Tensor:
        y: Tensor = attention(states, (tables, tables.sin()), None)[0]
        return y

    states, tables = torch.rand(2, 3, 32), torch.rand(2, 3, 8)
    states, tables = states.to(testing.device()), tables.to(testing.device())
    torch._dynamo.reset()
    compiled = torch.compile(attend, fullgraph=True, backend=backend)
    for attention in (first, second):
        torch.testing.assert_close(compiled(attention), attend(attention))
    assert [sum("rope" in target for target in graph) for graph in graphs] == [1]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_patched_too(duplicate: Callable[[Any], Any], verdicts: Verdicts) -> None:
    model = _build("Llama")
    patch(model, only=["rope"], verdicts=verdicts)
    wanted, grads, _ = _run(model)
    same = duplicate(model)
    unpatch(model)
    logits, same_grads, launched = _run(same)
    assert launched == 2
    torch.testing.assert_close((logits, same_grads), (wanted, grads), rtol=0, atol=0)


def test_gradient_checkpointing(verdicts: Verdicts) -> None:
    model = _build("Llama").train()
    _, grads, _ = _run(model)
    model.gradient_checkpointing_enable()
    patch(model, only=["rope"], verdicts=verdicts)
    _, patched_grads, _ = _run(model)
    torch.testing.assert_close(patched_grads, grads, rtol=1e-3, atol=1e-5)


def test_with_a_cache_it_decodes_the_same(verdicts: Verdicts) -> None:
    model = _build("Llama")
    wanted = model.generate(_ids(), max_new_tokens=4, do_sample=False)
    patch(model, only=["rope"], verdicts=verdicts)
    assert torch.equal(model.generate(_ids(), max_new_tokens=4, do_sample=False), wanted)


def test_a_forward_replaced_on_the_instance_is_left_alone(verdicts: Verdicts) -> None:
    """As accelerate's hooks do; the class's forward would go past them."""
    model = _build("Llama")
    attention = model.model.layers[0].self_attn
    hooked = attention.forward
    attention.forward = lambda *args, **kwargs: hooked(*args, **kwargs)
    report = patch(model, only=["rope"], verdicts=verdicts)
    assert [entry.path for entry in report.left] == ["model.layers.0.self_attn"]
    assert "instance" in report.left[0].verdict.reason
