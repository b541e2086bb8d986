"""rms_norm in place of what transformers computes, outputs and gradients: a module of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.gemma3n.modeling_gemma3n import Gemma3nRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.nanochat.modeling_nanochat import NanoChatRMSNorm

from workbench_kernels import testing
from workbench_kernels.rms_norm.spec import SPEC
from workbench_kernels.rms_norm.wrapper import RmsNorm, rms_norm

WIDTH, EPS = 257, 1e-5


@dataclass(frozen=True)
class Kind:
    """How a model makes its module, and how rms_norm is called in its place."""

    model: str
    make: Callable[[], nn.Module]
    options: dict[str, Any] = field(default_factory=dict)
    weighted: bool = True

    def __str__(self) -> str:
        return self.model


KINDS = (
    Kind("llama", lambda: LlamaRMSNorm(WIDTH, eps=EPS), {"rounding": "before_weight"}),
    Kind("gemma", lambda: GemmaRMSNorm(WIDTH, eps=EPS), {"offset": 1.0}),
    Kind("gemma3n", lambda: Gemma3nRMSNorm(WIDTH, eps=EPS)),
    Kind("nanochat", lambda: NanoChatRMSNorm(eps=EPS), weighted=False),
)


def _call(module: nn.Module, input: Tensor, weight: Tensor | None) -> Tensor:
    parameters = {} if weight is None else {"weight": weight}
    y: Tensor = torch.func.functional_call(module, parameters, (input,))
    return y


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_stands_in_for_the_module(kind: Kind, dtype: torch.dtype) -> None:
    theirs = partial(_call, kind.make())
    ours = partial(rms_norm, eps=EPS, **kind.options)
    x, weight = testing.draw(SPEC, 19, WIDTH, dtype)
    absent = {} if kind.weighted else {"weight": None}
    spec = replace(SPEC, reference=theirs)
    testing.check(spec, ours, (x, weight), parameters=absent)
    given = weight if kind.weighted else None
    # Sums in another order move few results across a boundary between two numbers of 16 bits.
    same = (ours(x, weight=given) == theirs(x, given)).double().mean()
    assert same > 0.99 or dtype is torch.float32


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_begins_as_the_module_does(kind: Kind) -> None:
    theirs = kind.make()
    ours = RmsNorm(WIDTH, eps=EPS, elementwise_affine=kind.weighted, **kind.options)
    ours.load_state_dict(theirs.state_dict())
    state = theirs.state_dict()
    assert ours.state_dict().keys() == state.keys()
    fresh = RmsNorm(WIDTH, eps=EPS, elementwise_affine=kind.weighted, **kind.options).state_dict()
    assert all(torch.equal(fresh[name], state[name]) for name in state)
