"""glu in place of what transformers computes between two projections, outputs and gradients; and
that it is given no copy of what they made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workbench_kernels import testing
from workbench_kernels.glu import kernel
from workbench_kernels.glu.spec import SPEC
from workbench_kernels.glu.wrapper import glu

GPT_OSS: dict[str, Any] = {"limit": 7.0, "alpha": 1.702, "up_offset": 1.0}


def _two(module: Any, act: str, gate: Tensor, up: Tensor) -> Tensor:
    """The forward of an MLP whose projections give these."""
    from transformers.activations import ACT2FN

    given = SimpleNamespace(
        gate_proj=lambda _: gate, up_proj=lambda _: up, down_proj=lambda y: y, act_fn=ACT2FN[act]
    )
    given.config = SimpleNamespace(pretraining_tp=1)
    return module.forward(given, gate)  # type: ignore[no-any-return]


def _one(module: Any, act: str, both: Tensor, _: None = None) -> Tensor:
    """The forward of an MLP whose projection gives gate and up in one tensor."""
    from transformers.activations import ACT2FN

    given = SimpleNamespace(
        gate_up_proj=lambda _: both, down_proj=lambda y: y, activation_fn=ACT2FN[act]
    )
    return module.forward(given, both)  # type: ignore[no-any-return]


def _experts(module: Any, act: str, both: Tensor, _: None = None) -> Tensor:
    """The gate of experts, by whatever names they keep its numbers."""
    from transformers.activations import ACT2FN

    limits = {"limit": 7.0, "swiglu_limit": 7.0, "alpha": 1.702, "swiglu_alpha": 1.702}
    given = SimpleNamespace(act_fn=ACT2FN[act], **limits)
    return module._apply_gate(given, both)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Family:
    """A class of a model, how it is called, and how glu is called in its place."""

    model: str
    name: str
    theirs: Callable[..., Tensor]
    act: str = "silu"
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def __call__(self, gate: Tensor, up: Tensor | None = None, **_: Any) -> Tensor:
        """As the model computes it; what glu is told besides, it knows."""
        module = import_module(f"transformers.models.{self.model}.modeling_{self.model}")
        given = (gate,) if up is None else (gate, up)
        return self.theirs(getattr(module, self.name), self.act, *given)


ALONE: dict[str, Any] = {"up": None}
FAMILIES = [
    Family("llama", "LlamaMLP", _two),
    Family("gemma", "GemmaMLP", _two, "gelu_pytorch_tanh", {"activation": "gelu_tanh"}),
    Family("llama", "LlamaMLP", _two, "gelu", {"activation": "gelu"}),
    Family("llama", "LlamaMLP", _two, "relu2", {"activation": "relu2"}),
    Family("phi3", "Phi3MLP", _one, options=ALONE),
    Family("glm", "GlmMLP", _one, options=ALONE),
    Family("gpt_oss", "GptOssExperts", _experts, options=ALONE | GPT_OSS | {"interleaved": True}),
    Family("minimax_m3_vl", "MiniMaxM3VLExperts", _experts, options=ALONE | GPT_OSS),
    Family("deepseek_v4", "DeepseekV4Experts", _experts, options=ALONE | {"limit": 7.0}),
]


def _tensors(width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Two, of which some is beyond the limit."""
    generator = torch.Generator().manual_seed(0)
    drawn = (5 * torch.randn(2, 7, width, generator=generator) for _ in range(2))
    return [t.to(testing.device(), dtype) for t in drawn]


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_is_what_the_model_computes(family: Family, dtype: torch.dtype) -> None:
    spec = replace(SPEC, reference=family)
    testing.check(spec, glu, _tensors(90, dtype), parameters=family.options)


class _Calls(TorchDispatchMode):
    """The names of what PyTorch is asked to do."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def _copies(dy: Tensor, gate: Tensor, up: Tensor | None, interleaved: bool = False) -> bool:
    """Whether the kernels are given copies, forward or backward."""
    options: list[Any] = ["silu", interleaved, None, 1.0, 0.0]
    with _Calls() as calls:
        kernel.forward(gate, up, *options)
        kernel.backward(dy, gate, up, *options, [True, up is not None])
    return "clone" in calls.names


def test_reads_rows_where_they_lie() -> None:
    both, wider = _tensors(70)
    gate, up = both.chunk(2, -1)
    dy = wider[..., 3:38]
    assert _copies(dy, gate.mT.contiguous().mT, up)  # so a copy is noticed
    assert not _copies(dy, gate, up)
    assert not _copies(dy, both, None)
    assert not _copies(dy, both, None, interleaved=True)
    assert not _copies(dy[..., :15], wider[..., 8:38], None)
