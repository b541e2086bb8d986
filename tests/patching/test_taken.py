"""Modules whose work another's kernel does: what is the same for every such rule."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from models import launched, model, same_step, step, tokens

from workbench_kernels.patching import patch, unpatch
from workbench_kernels.patching.verdicts import Verdicts

VERDICTS = Verdicts()
# A type of models, a norm that is taken in each of its two layers, the op that does its work.
KINDS = (
    ("qwen3", "q_norm", "qk_norm_rope"),
    ("llama", "post_attention_layernorm", "fused_add_rms_norm"),
)
TYPES = [kind for kind, _, _ in KINDS]


@pytest.mark.parametrize("kind", TYPES)
def test_unpatched_they_are_as_they_were(kind: str) -> None:
    made = model(kind)
    before = [dict(vars(module)) for module in made.modules()]
    patch(made, verdicts=VERDICTS)
    unpatch(made)
    assert [dict(vars(module)) for module in made.modules()] == before


@pytest.mark.parametrize(("kind", "norm", "op"), KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_served_by_its_own_norms(copied: Any, kind: str, norm: str, op: str) -> None:
    made = model(kind)
    patch(made, verdicts=VERDICTS)
    other = copied(made)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if norm in name:
                parameter.mul_(2.0)
    assert launched(other)[op] == 2
    assert float(step(other)[0]) != float(step(made)[0])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool, kind: str) -> None:
    made = model(kind)
    before = step(made)
    patch(made, verdicts=VERDICTS)
    made.gradient_checkpointing_enable({"use_reentrant": reentrant})
    made.enable_input_require_grads()
    same_step(before, step(made))


@pytest.mark.parametrize("kind", TYPES)
def test_generates(kind: str) -> None:
    made = model(kind).eval()
    plain = made.generate(tokens(4), max_new_tokens=5, do_sample=False)
    patch(made, verdicts=VERDICTS)
    assert torch.equal(made.generate(tokens(4), max_new_tokens=5, do_sample=False), plain)
