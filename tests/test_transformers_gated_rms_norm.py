"""gated_rms_norm in place of what transformers computes, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.falcon_h1.modeling_falcon_h1 import FalconH1RMSNormGated
from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearRMSNormGated
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextRMSNormGated

from workbench_kernels import testing
from workbench_kernels.gated_rms_norm.spec import SPEC
from workbench_kernels.gated_rms_norm.wrapper import GatedRmsNorm, gated_rms_norm

WIDTH, EPS = 66, 1e-5


@dataclass(frozen=True)
class Kind:
    """How a model makes its module, and how gated_rms_norm is called in its place."""

    model: str
    make: Callable[[], nn.Module]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.model


KINDS = (
    Kind(
        "qwen3-next",
        lambda: Qwen3NextRMSNormGated(WIDTH, eps=EPS),
        {"rounding": "before_weight"},
    ),
    Kind("kimi-linear", lambda: KimiLinearRMSNormGated(WIDTH, eps=EPS), {"activation": "sigmoid"}),
    Kind(
        "mamba2",
        lambda: MambaRMSNormGated(WIDTH, group_size=WIDTH // 3, eps=EPS),
        {"gate_first": True, "num_groups": 3, "rounding": "before_weight"},
    ),
    Kind(
        "falcon-h1",
        lambda: FalconH1RMSNormGated(WIDTH, eps=EPS, n_groups=2, norm_before_gate=False),
        {"gate_first": True, "num_groups": 2},
    ),
    Kind("falcon-h1, gate last", lambda: FalconH1RMSNormGated(WIDTH, eps=EPS)),
)


def _call(module: nn.Module, x: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = torch.func.functional_call(module, {"weight": weight}, (x, gate))
    return y


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_stands_in_for_the_module(kind: Kind, dtype: torch.dtype) -> None:
    theirs = partial(_call, kind.make())
    ours = partial(gated_rms_norm, eps=EPS, **kind.options)
    inputs = testing.draw(SPEC, 19, WIDTH, dtype)
    testing.check(replace(SPEC, reference=theirs), ours, inputs)
    # Sums in another order move few results across a boundary between two numbers of 16 bits.
    same = (ours(*inputs) == theirs(*inputs)).double().mean()
    assert same > 0.98 or dtype is torch.float32


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_begins_as_the_module_does(kind: Kind) -> None:
    theirs = kind.make().state_dict()
    ours = GatedRmsNorm(WIDTH, eps=EPS, **kind.options).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
