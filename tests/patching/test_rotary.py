"""Rotary functions of models: proven, served for one instance, and everything else as it was."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from workbench_kernels import testing
from workbench_kernels.patching import PatchError, patch, unpatch
from workbench_kernels.patching.functions import rebound
from workbench_kernels.patching.rotary import RotaryFunctions
from workbench_kernels.patching.rotation import Arguments, replacement
from workbench_kernels.patching.verdicts import Verdicts, key_of

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


class Launches(TorchDispatchMode):
    """Counts the calls of rope."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name() == "workbench_kernels::rope"
        return func(*args, **(kwargs or {}))


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


# What follows is an attention of one's own, by its file's source.
ROTARY = """
import torch
from torch import nn

def rotate_half(x):
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)

def turn(q, k, cos, sin, unsqueeze_dim=1):
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.head_dim = 8
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, q, k, cos, sin):
        q, k = turn(q * self.weight, k, cos, sin)
        return q, k
"""
_SWAPPED = "sin.unsqueeze(unsqueeze_dim), cos.unsqueeze(unsqueeze_dim)"
_WIDE = "(x if x.shape[-1] < 64 else x.flip(-1)).chunk(2, -1)"
_ORDER = """sin

turned = turn

def turn(q, k, cos, sin, unsqueeze_dim=1):
    return turned(k, q, cos, sin)

class"""
WRONG = {
    "scaled": ("return q * cos", "return 1.01 * q * cos"),
    "scaled by a default": ("unsqueeze_dim=1):", "unsqueeze_dim=1, scale=1.1):\n    q = q * scale"),
    "one tensor only": ("rotate_half(k) * sin", "k * sin"),
    "tables swapped": ("cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)", _SWAPPED),
    "no rotation": ("return q * cos + rotate_half(q) * sin", "return q * cos + q * sin"),
    "halves by the wrong columns": ("cos, sin = cos.un", "cos, sin = cos.flip(-1).un"),
    "for narrow heads only": ("x.chunk(2, -1)", _WIDE),
    "its gradient is cut": ("return q * cos", "q = q.detach()\n    return q * cos"),
    "in another order": ("sin\n\nclass", _ORDER),
}  # fmt: skip
RIGHT = {
    "as it is": ("", "", 1),
    "the other way": ("torch.cat((-second, first)", "torch.cat((second, -first)", 1),
    "tokens first by default": ("unsqueeze_dim=1", "unsqueeze_dim=2", 2),
}


def _own(old: str, new: str) -> Any:
    assert old in ROTARY
    return _from(ROTARY.replace(old, new, 1))


def _from(source: str) -> Any:
    scope: dict[str, Any] = {"__name__": "a_file_of_ones_own"}
    exec(source, scope)
    return scope["Attention"]().to(testing.device())


def _heads(heads_dim: int) -> list[Tensor]:
    torch.manual_seed(0)
    q, k = (torch.randn(2, 5, heads, 8).transpose(heads_dim, 2) for heads in (4, 2))
    angles = torch.randn(2, 5, 8)
    return [t.to(testing.device()) for t in (q, k, angles.cos(), angles.sin())]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_rotation_is_left_alone(name: str, verdicts: Verdicts) -> None:
    attention = _own(*WRONG[name])
    attention.head_dim = 64
    report = patch(attention, only=["rope"], verdicts=verdicts)
    assert not report.served
    assert "turn: " in report.left[0].verdict.reason
    with pytest.raises(PatchError, match="left alone"):
        unpatch(attention)
        patch(attention, only=["rope"], verdicts=verdicts, strict=True)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_a_rotation_is_served(name: str, verdicts: Verdicts) -> None:
    old, new, heads_dim = RIGHT[name]
    attention, given = _own(old, new), _heads(heads_dim)
    wanted = attention(*given)
    assert patch(attention, only=["rope"], verdicts=verdicts).served
    with Launches() as launches:
        got = attention(*given)
    assert launches.count == 1
    torch.testing.assert_close(got, wanted)


_MODULE = """sin

import inspect

def as_module(function):
    class Func(nn.Module):
        def forward(self, *args, **kwargs):
            return function(*args, **kwargs)

    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    others = inspect.signature(function).parameters.values()
    Func.forward.__signature__ = inspect.Signature([first, *others])
    return Func()

turn = as_module(turn)

class"""


def test_a_function_that_the_kernels_library_made_a_module_of(verdicts: Verdicts) -> None:
    attention, given = _own("sin\n\nclass", _MODULE), _heads(1)
    wanted = attention(*given)
    assert patch(attention, only=["rope"], verdicts=verdicts).served
    with Launches() as launches:
        torch.testing.assert_close(attention(*given), wanted)
    assert launches.count == 1


def test_a_kernel_of_the_kernels_library_is_left_in_its_place(verdicts: Verdicts) -> None:
    attention = _own("sin\n\nclass", _MODULE)
    turn = type(attention).forward.__globals__["turn"]
    turn.forward = turn.forward
    assert not patch(attention, only=["rope"], verdicts=verdicts).entries


_DECORATOR = """import functools

def negated(function):
    @functools.wraps(function)
    def call(self, q, k, cos, sin):
        return function(self, q, k, cos, -sin)
    return call

def lost(function):
    known = [function]
    @functools.wraps(function)
    def call(*args):
        return known[0](*args)
    return call

def rotate_half"""


def test_decorators_keep_their_effect(verdicts: Verdicts) -> None:
    attention, given = _decorated("negated"), _heads(1)
    wanted = attention(*given)
    assert patch(attention, only=["rope"], verdicts=verdicts).served
    with Launches() as launches:
        torch.testing.assert_close(attention(*given), wanted)
    assert launches.count == 1
    unpatch(attention)
    torch.testing.assert_close(attention(*given), wanted, rtol=0, atol=0)


def test_a_decorator_that_hides_the_forward_is_a_reason(verdicts: Verdicts) -> None:
    report = patch(_decorated("lost"), only=["rope"], verdicts=verdicts)
    assert "a decorator of its forward can't be copied" in report.left[0].verdict.reason


def _decorated(name: str) -> Any:
    source = ROTARY.replace("def rotate_half", _DECORATOR, 1)
    return _from(source.replace("    def forward", f"    @{name}\n    def forward", 1))


def test_verdicts_are_of_the_code_that_is_called() -> None:
    keys = {key_of("rope", _own("", ""))}
    changes = [change[:2] for change in (*WRONG.values(), *RIGHT.values()) if change[0]]
    keys |= {key_of("rope", _own(*change)) for change in changes}
    keys |= {key_of("rope", _own("return q * cos", "return SCALE * q * cos"))}
    assert len(keys) == 2 + len(changes)
    assert key_of("rope", _own("", "")) in keys


def test_a_constant_of_its_file_is_part_of_the_verdict() -> None:
    scaled = "SCALE = {}\ndef turn(q, k, cos, sin, unsqueeze_dim=1):\n    q = q * SCALE"
    keys = {
        key_of("rope", _own("def turn(q, k, cos, sin, unsqueeze_dim=1):", scaled.format(number)))
        for number in (1.0, 2.0)
    }
    assert len(keys) == 2


@pytest.fixture
def original() -> Iterator[Any]:
    yield _own("", "").forward.__globals__["turn"]


def _cases() -> dict[str, Callable[[list[Tensor]], tuple[list[Any], dict[str, Any], int]]]:
    """Calls with the numbers of launches they come to."""
    return {
        "by position": lambda t: ([*t, 1], {}, 1),
        "by name": lambda t: (t[:2], {"sin": t[3], "cos": t[2], "unsqueeze_dim": 1}, 1),
        "one batch of tables": lambda t: ([*t[:2], t[2][:1], t[3][:1]], {}, 1),
        "bfloat16": lambda t: ([x.bfloat16() for x in t], {}, 1),
        "float32 tables": lambda t: ([*(x.bfloat16() for x in t[:2]), *t[2:]], {}, 1),
        "bfloat16 tables": lambda t: ([*t[:2], *(x.bfloat16() for x in t[2:])], {}, 0),
        "float64": lambda t: ([x.double() for x in t], {}, 0),
        "of two dtypes": lambda t: ([t[0].bfloat16(), *t[1:]], {}, 0),
        "tables that learn": lambda t: ([*t[:2], t[2].requires_grad_(), t[3]], {}, 0),
        "more tables than heads": lambda t: ([t[0][:1], t[1][:1], *t[2:]], {}, 0),
        "no batch": lambda t: ([x[0] for x in t], {"unsqueeze_dim": 0}, 1),
        "one table for a batch": lambda t: ([*t[:2], t[2][0], t[3][0]], {"unsqueeze_dim": 0}, 1),
        "counted from the end": lambda t: (t, {"unsqueeze_dim": -3}, 0),
    }  # fmt: skip


@pytest.mark.parametrize("name", _cases())
def test_every_call_gives_what_it_gave(name: str, original: Any, verdicts: Verdicts) -> None:
    args, kwargs, wanted_launches = _cases()[name](_heads(1))
    verdict = verdicts.find(RotaryFunctions(), _own("", ""))
    ours = replacement(original, verdict.options["functions"]["turn"])
    wanted = original(*args, **kwargs)
    with Launches() as launches:
        got = ours(*args, **kwargs)
    assert launches.count == wanted_launches
    tolerance = 0.05 if torch.bfloat16 in (wanted[0].dtype, args[0].dtype) else 1e-5
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


def test_a_wrong_call_is_the_original_s_error(original: Any, verdicts: Verdicts) -> None:
    verdict = verdicts.find(RotaryFunctions(), _own("", ""))
    ours = replacement(original, verdict.options["functions"]["turn"])
    for args, kwargs in [(_heads(1), {"q": 1}), (_heads(1)[:2], {}), (_heads(1), {"unknown": 1})]:
        with pytest.raises(TypeError, match="turn"):
            ours(*args, **kwargs)


def test_one_tensor_of_two_is_left_to_the_original() -> None:
    def turn(q: Tensor, k: Any = None, cos: Any = None, sin: Any = None) -> Any:
        return "the original's"

    options = {"pairing": "half", "table": "column for each feature", "layouts": [[4, 3, None, 1]]}
    q, _, cos, sin = _heads(1)
    assert replacement(turn, options)(q, cos=cos, sin=sin) == "the original's"


def test_functions_of_more_than_a_rotation_have_a_reason(verdicts: Verdicts) -> None:
    attention = _own(
        "def turn(q, k, cos, sin, unsqueeze_dim=1):",
        "def turn(q, k, cos, sin, position_ids=0, *, axes, unsqueeze_dim=1):",
    )
    report = patch(attention, only=["rope"], verdicts=verdicts)
    assert "it wants axes too" in report.left[0].verdict.reason


def test_a_global_replaced_after_the_copy_makes_another_copy(verdicts: Verdicts) -> None:
    attention = _own("", "")
    options = verdicts.find(RotaryFunctions(), attention).options["functions"]
    first = rebound(type(attention), replacement, options)
    assert rebound(type(attention), replacement, options) is first
    known = type(attention).forward.__globals__
    known["turn"] = lambda q, k, cos, sin, unsqueeze_dim=1: (q, k)
    assert rebound(type(attention), replacement, options) is not first


def test_a_verdict_from_a_file_is_the_same(tmp_path: Path) -> None:
    attention = _own("", "")
    file = tmp_path / "verdicts.json"
    first = Verdicts(file)
    verdict = first.find(RotaryFunctions(), attention)
    first.save()
    assert Verdicts(file).find(RotaryFunctions(), attention) == verdict


def test_roles_are_told_by_names() -> None:
    def gptj(tensor: Tensor, sin: Tensor, cos: Tensor) -> None: ...
    def pairs(xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> None: ...
    def other(x: Tensor, y: Tensor) -> None: ...

    found = [Arguments.of(function) for function in (gptj, pairs, other)]
    assert found[0] and found[0].tensors == ("tensor",) and found[0].tables == ("cos", "sin")
    assert found[1] and found[1].tensors == ("xq", "xk") and found[1].tables == ("freqs_cis",)
    assert found[2] is None
    assert found[0].bind((), {}) is None
