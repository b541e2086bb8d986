"""`set_experts_implementation("workbench")`: transformers' registry of experts, with our gate."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from models import model, same_step, step, tokens
from torch import nn

from workbench_kernels.patching import gated
from workbench_kernels.patching.experts_function import register_experts
from workbench_kernels.patching.verdicts import Verdicts


@pytest.fixture
def registered() -> Iterator[None]:
    undo = register_experts(verdicts=Verdicts())
    yield
    undo()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The module of each gate that the kernel computes, in proofs too."""
    found: list[nn.Module] = []
    join = gated.join

    def noted(module: nn.Module, parts: Any, how: Any, *function: Any) -> Any:
        if not function:
            found.append(module)
        return join(module, parts, how, *function)

    monkeypatch.setattr(gated, "join", noted)
    return found


def experts(kind: str = "mixtral") -> Any:
    few = {"num_local_experts": 3, "num_experts": 3, "num_experts_per_tok": 2}
    made: Any = model(kind, moe_intermediate_size=16, **few)
    made.set_experts_implementation("grouped_mm")
    return made


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_it_learns_what_it_learnt(kind: str, registered: None, calls: list[nn.Module]) -> None:
    made = experts(kind)
    before, state = step(made), [dict(vars(module)) for module in made.modules()]
    made.set_experts_implementation("workbench")
    with warnings.catch_warnings(action="error"):
        same_step(before, step(made))
    assert {id(layer.mlp.experts) for layer in made.model.layers} <= {id(m) for m in calls}
    made.set_experts_implementation("grouped_mm")
    made.zero_grad()
    assert [dict(vars(module)) for module in made.modules()] == state
    calls.clear()
    step(made)
    assert not calls


@pytest.mark.parametrize("first", ["checkpointed", "evaluated"])
def test_whatever_the_first_forward_is(first: str, registered: None) -> None:
    """The proof is made within one that counts what it saves, or has no gradients."""
    made = experts()
    before = step(made)
    made.set_experts_implementation("workbench")
    if first == "checkpointed":
        made.activation_checkpointing_enable()
    else:
        with torch.no_grad():
            made(input_ids=tokens())
    with warnings.catch_warnings(action="error"):
        same_step(before, step(made))


def test_compiled_whole(registered: None, calls: list[nn.Module]) -> None:
    made = experts()
    module, rows = made.model.layers[0].mlp.experts, torch.randn(5, 32)
    chosen, shares = torch.tensor([[0, 1], [2, 0], [1, 2], [2, 1], [0, 2]]), torch.rand(5, 2)
    wanted = module(rows, chosen, shares)
    made.set_experts_implementation("workbench")
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(rows, chosen, shares), wanted)
    assert module in calls


def test_a_gate_that_no_kernel_computes_stays(registered: None, calls: list[nn.Module]) -> None:
    made = experts()
    for layer in made.model.layers:
        layer.mlp.experts.act_fn = nn.Tanh()
    before = step(made)
    made.set_experts_implementation("workbench")
    with pytest.warns(UserWarning, match="MixtralExperts keeps its own gate: .* makes no product"):
        same_step(before, step(made))
    assert not calls


def test_until_it_is_taken_back() -> None:
    undo = register_experts(verdicts=Verdicts())
    assert experts().set_experts_implementation("workbench") is None
    undo()
    with pytest.raises(ValueError, match="workbench"):
        experts().set_experts_implementation("workbench")
