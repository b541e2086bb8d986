"""Norms whose rows do not lie along the last dimension of what they take."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workbench_kernels import testing
from workbench_kernels.patching import patch
from workbench_kernels.patching.norms import Norms
from workbench_kernels.patching.rule import Verdict
from workbench_kernels.patching.verdicts import Verdicts

WIDTH = 16


def of(name: str, *arguments: Any, **options: Any) -> nn.Module:
    """A norm of transformers: "sam.SamLayerNorm"."""
    folder, _, kind = name.partition(".")
    module = import_module(f"transformers.models.{folder}.modeling_{folder}")
    made: nn.Module = getattr(module, kind)(*arguments, **options)
    return drawn(made)


def drawn(module: nn.Module) -> nn.Module:
    """With parameters unlike a new module's."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return module.to(testing.device())


def assert_served(module: nn.Module, *shapes: tuple[int, ...]) -> Verdict:
    """Results and gradients are what they were, by the kernel that the verdict names."""
    verdict = Norms().prove(module)
    assert verdict.served, verdict.reason
    served = copy.deepcopy(module)
    Norms().install(served, verdict)
    for shape in shapes:
        for expected, got in zip(step(module, shape), step(served, shape), strict=True):
            torch.testing.assert_close(got, expected)
    return verdict


def step(module: nn.Module, shape: tuple[int, ...]) -> list[Tensor]:
    """The result for an input of this shape, and the gradients."""
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=chance).to(testing.device()).requires_grad_()
    y: Tensor = module(x)
    upstream = torch.randn(y.shape, generator=chance).to(y)
    return [y, *torch.autograd.grad(y, [x, *module.parameters()], upstream)]


@pytest.mark.parametrize("groups", [1, 4, WIDTH])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm(groups: int, affine: bool) -> None:
    made = drawn(nn.GroupNorm(groups, WIDTH, eps=1e-4, affine=affine))
    shapes = [(2, WIDTH, 5), (2, WIDTH, 3, 2), (1, WIDTH, 2, 3, 2), (3, WIDTH, 3)]
    verdict = assert_served(made, *shapes)
    assert verdict.kernel == "group_norm"
    assert (verdict.options["num_groups"], verdict.options["eps"]) == (groups, 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_group_norm_in_16_bits(dtype: torch.dtype) -> None:
    verdict = Norms().prove(drawn(nn.GroupNorm(4, WIDTH)).to(dtype))
    assert verdict.kernel == "group_norm" and verdict.same is not None and verdict.same > 0.99


def test_one_group_is_no_layer_norm() -> None:
    """It is one of inputs of two dimensions; here as many positions are as channels."""
    verdict = assert_served(drawn(nn.GroupNorm(1, WIDTH)), (2, WIDTH, WIDTH))
    assert verdict.kernel == "group_norm"


def test_a_rank_that_nothing_was_proven_of_is_the_models_own() -> None:
    made = drawn(nn.GroupNorm(4, WIDTH))
    x = torch.randn(3, WIDTH, device=testing.device())
    before = made(x)
    Norms().install(made, Norms().prove(made))
    assert torch.equal(made(x), before)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("got_ocr2.GotOcr2LayerNorm", {"data_format": "channels_first"}, (2, WIDTH, 5, 3)),
        ("seggpt.SegGptLayerNorm", {"data_format": "channels_first"}, (2, WIDTH, 5, 3)),
        ("squeezebert.SqueezeBertLayerNorm", {}, (2, WIDTH, 5)),
    ],
)
def test_layer_norm_over_channels(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    verdict = assert_served(of(name, WIDTH, **options), shape)
    assert (verdict.kernel, verdict.options["ranks"]) == ("layer_norm", [len(shape)])


def test_the_same_class_over_the_last_dimension() -> None:
    verdict = assert_served(of("got_ocr2.GotOcr2LayerNorm", WIDTH), (2, 5, 3, WIDTH))
    assert verdict.options == {"eps": 1e-6}


@pytest.mark.parametrize("bias", [True, False])
def test_heads_that_are_joined(bias: bool) -> None:
    made = of("xlstm.xLSTMMultiHeadLayerNorm", 2, WIDTH // 2, use_bias=bias)
    assert assert_served(made, (2, 5, 2, WIDTH // 2)).mode == "of heads, rounded before the weight"


class NearlyGroupNorm(nn.GroupNorm):
    """With the variance of a sample."""

    def forward(self, input: Tensor) -> Tensor:
        grouped = input.unflatten(1, (self.num_groups, -1)).flatten(2)
        variance, mean = torch.var_mean(grouped, -1, keepdim=True)
        y = ((grouped - mean) * torch.rsqrt(variance + self.eps)).reshape(input.shape)
        sides = (-1, *[1] * (input.dim() - 2))
        return y * self.weight.view(sides) + self.bias.view(sides)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (NearlyGroupNorm(4, WIDTH), "no norm computes what it does"),
        (nn.BatchNorm1d(WIDTH, track_running_stats=False), "no norm computes what it does"),
        (of("hy_v4.HYV4UnweightedRMSNorm"), "it gives (12, 1)"),
        (of("deepseek_v4.DeepseekV4UnweightedRMSNorm"), "it rounds what x is multiplied with"),
        (of("dory.DoryL2Norm"), "of the sum and not of the mean"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_leaves_alone_what_is_else(made: nn.Module, reason: str) -> None:
    (entry,) = patch(nn.Sequential(drawn(made), nn.Linear(1, 1)), verdicts=Verdicts()).entries
    assert reason in entry.verdict.reason


def test_a_norm_of_nothing_is_no_candidate() -> None:
    assert not list(Norms().candidates(nn.LayerNorm(0)))


def test_compiles_to_one_graph_with_the_kernel() -> None:
    made = drawn(nn.GroupNorm(4, WIDTH))
    patch(made, verdicts=Verdicts())
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    x = torch.randn(2, WIDTH, 5, device=testing.device())
    compiled = torch.compile(made, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x), made(x))
    assert "workbench_kernels.group_norm" in graphs[0].code
