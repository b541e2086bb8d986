"""Which kernel serves a norm, and in which mode."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workbench_kernels import testing
from workbench_kernels.patching import patch
from workbench_kernels.patching.gated_norms import GatedNorms
from workbench_kernels.patching.norms import Norms
from workbench_kernels.patching.rule import Verdict
from workbench_kernels.patching.verdicts import Verdicts

BEFORE, ONCE, OFFSET = "rounded before the weight", "rounded once", "weight + 1, rounded once"


def of(name: str, *arguments: Any, **options: Any) -> nn.Module:
    """A norm of transformers: "llama.LlamaRMSNorm"."""
    folder, _, kind = name.partition(".")
    module = import_module(f"transformers.models.{folder}.modeling_{folder}")
    made: nn.Module = getattr(module, kind)(*arguments, **options)
    return made.to(testing.device())


@pytest.mark.parametrize(
    ("name", "arguments", "kernel", "mode"),
    [
        ("llama.LlamaRMSNorm", (96,), "rms_norm", BEFORE),
        ("gemma.GemmaRMSNorm", (96,), "rms_norm", OFFSET),
        ("gpt_oss.GptOssRMSNorm", (96,), "rms_norm", ONCE),
        ("olmo2.Olmo2RMSNorm", (96,), "rms_norm", ONCE),
        ("nanochat.NanoChatRMSNorm", (), "rms_norm", BEFORE),
        ("gemma3n.Gemma3nRMSNorm", (96,), "rms_norm", ONCE),
        ("cohere.CohereLayerNorm", (96,), "layer_norm", ONCE),
        ("nemotron.NemotronLayerNorm1P", (96,), "layer_norm", OFFSET),
    ],
)
def test_the_mode_that_a_model_has(
    name: str, arguments: tuple[Any, ...], kernel: str, mode: str
) -> None:
    verdict = Norms().prove(of(name, *arguments))
    assert (verdict.kernel, verdict.mode) == (kernel, mode)
    assert verdict.ratio < 2.0 and verdict.same is not None and verdict.same > 0.99


def test_rms_norm_of_pytorch_without_a_weight() -> None:
    """Its shape tells how wide rows are."""
    made = nn.RMSNorm(40, eps=1e-3, elementwise_affine=False).to(testing.device())
    assert Norms().prove(made).options["eps"] == 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rms_norm_of_pytorch_with_its_own_epsilon(dtype: torch.dtype) -> None:
    made = nn.RMSNorm(40).to(testing.device(), dtype)
    verdict = Norms().prove(made)
    assert verdict.options["eps"] == torch.finfo(torch.float32).eps
    x = (1e-3 * torch.randn(5, 40)).to(testing.device(), dtype)
    before = made(x)
    patch(made, verdicts=Verdicts())
    torch.testing.assert_close(made(x), before)


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_of_pytorch(bias: bool) -> None:
    made = nn.LayerNorm(96, eps=1e-3, bias=bias).to(testing.device())
    verdict = Norms().prove(made)
    assert verdict.served and verdict.options == {"eps": 1e-3}


class Wrong(nn.Module):
    """An RMSNorm, but for something."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.eps = what, 1e-6
        self.weight = nn.Parameter(torch.ones(96, device=testing.device()))

    def forward(self, x: Tensor) -> Tensor:
        added = 1e-5 if self.what == "epsilon" else self.eps
        wide = x.double() if x.dtype is torch.float64 else x.float()
        mean = wide.square().mean(-1, keepdim=True)
        if self.what == "detached":
            mean = mean.detach()
        if self.what == "root":
            y = wide / (mean.sqrt() + added)
        else:
            y = wide * torch.rsqrt(mean + added)
        if self.what == "slightly":
            y = y * 1.0002
        weight = self.weight + 0.5 if self.what == "offset" else self.weight
        if self.what == "no gradient":
            weight = weight.detach()
        return (weight * y).to(x.dtype)


@pytest.mark.parametrize(
    "what", ["epsilon", "detached", "root", "slightly", "offset", "no gradient"]
)
def test_what_is_not_quite_a_norm_is_left_alone(what: str) -> None:
    """Wrong in its forward, or in its backward alone."""
    assert Norms().prove(Wrong("")).served
    verdict = Norms().prove(Wrong(what))
    assert verdict.reason.startswith("no norm computes what it does")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("qwen3_next.Qwen3NextRMSNormGated", {}, {"rounding": "before_weight"}),
        ("kimi_linear.KimiLinearRMSNormGated", {}, {"activation": "sigmoid"}),
        ("bamba.BambaRMSNormGated", {"group_size": 32}, {"gate_first": True, "num_groups": 3}),
    ],
)
def test_a_norm_with_a_gate(name: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    made = of(name, 96, **options)
    verdict = GatedNorms().prove(made)
    assert {k: verdict.options[k] for k in expected} == expected
    x, gate = (torch.randn(5, 96, device=testing.device()) for _ in range(2))
    given, plain = made(x, gate), made(x) if "bamba" in name else None
    assert not list(Norms().candidates(made))
    GatedNorms().install(made, verdict)
    torch.testing.assert_close(made(x, gate), given)
    wide = made.double()(x.double(), gate.double())  # no kernel takes these
    torch.testing.assert_close(wide.float(), given)
    made.float()
    if plain is not None:  # the gate may be left out
        assert torch.equal(made(x), plain)


@pytest.mark.parametrize("affine", [True, False])
def test_a_dtype_without_a_kernel_is_left_to_the_class(affine: bool) -> None:
    made = nn.LayerNorm(40, elementwise_affine=affine).to(testing.device())
    x = torch.randn(5, 40, device=testing.device(), dtype=torch.float64)
    before = made.double()(x)
    made.float()
    Norms().install(made, Norms().prove(made))
    assert torch.equal(made.double()(x), before)


def test_two_dimensions_are_not_one() -> None:
    made = nn.Sequential(nn.LayerNorm((4, 6)), nn.BatchNorm1d(6)).to(testing.device())
    assert not patch(made, verdicts=Verdicts()).entries


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rows_of_another_dtype_than_the_weight_are_the_models_own(dtype: torch.dtype) -> None:
    """As under autocast, where a norm's weight stays in float32."""
    made = of("llama.LlamaRMSNorm", 96)
    x = torch.randn(5, 96, device=testing.device(), dtype=dtype)
    before = made(x)
    patch(nn.Sequential(made), verdicts=Verdicts())
    assert made(x).dtype is torch.float32 and torch.equal(made(x), before)


def test_the_weight_is_the_one_it_has_when_it_is_called() -> None:
    made = of("llama.LlamaRMSNorm", 96)
    patch(nn.Sequential(made), verdicts=Verdicts())
    x = torch.randn(5, 96, device=testing.device())
    before = made(x)
    with torch.no_grad():
        made.weight.mul_(2.0)
    torch.testing.assert_close(made(x), 2.0 * before)


def test_no_reason_is_no_verdict() -> None:
    assert Verdict(kernel="rms_norm").served and not Verdict(reason="it is odd").served
