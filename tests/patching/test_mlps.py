"""Gated MLPs and experts: served exactly, or left alone with the reason; their children stay."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench_kernels import testing
from workbench_kernels.patching import Report, patch, unpatch
from workbench_kernels.patching.proof import prove
from workbench_kernels.patching.verdicts import Verdicts

HIDDEN, INNER, EXPERTS = 16, 24, 3
GATED = {"feed_forward_proj": "gated-gelu", "dropout_rate": 0.1}


def _of(model: str, name: str, **settings: Any) -> nn.Module:
    """A module of transformers, by the config of its model."""
    from transformers import CONFIG_MAPPING

    sizes = {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_attention_heads": 2}
    config = CONFIG_MAPPING[model](**{**sizes, "pad_token_id": 0, **settings})
    folder = model.replace("-", "_")
    module = import_module(f"transformers.models.{folder}.modeling_{folder}")
    return _drawn(getattr(module, name)(config))


def _drawn(module: nn.Module) -> nn.Module:
    """With weights that give numbers of about 5; in bfloat16."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=5.0 / HIDDEN**0.5)
    return module.to(testing.device(), torch.bfloat16).eval()


def _patch(module: nn.Module) -> Report:
    return patch(module, only=["mlp", "experts"], verdicts=Verdicts())


def _only(report: Report) -> str:
    """How the only module is served, or the reason why it is not."""
    (entry,) = report.entries
    return entry.verdict.mode or f"left: {entry.verdict.reason}"


def _input(*rows: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(*rows, HIDDEN).to(testing.device(), torch.bfloat16)


def _assert_same(plain: nn.Module, served: nn.Module, x: Tensor, *others: Tensor) -> None:
    """The result and the gradients of input and parameters, within the library's bound."""

    def call(module: nn.Module, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        given = [t.to(x.dtype) if t.is_floating_point() else t for t in others]
        y: Tensor = torch.func.functional_call(module, parameters, (x, *given))
        return y

    tensors = {"x": x, **dict(plain.named_parameters())}
    found = prove(
        lambda x, **parameters: call(plain, x, parameters),
        lambda x, **parameters: call(served, x, parameters),
        tensors,
    )
    assert not found.wrong


def _assert_served(module: nn.Module, mode: str) -> None:
    plain = copy.deepcopy(module)
    assert _only(_patch(module)) == mode
    _assert_same(plain, module, _input(2, 5))
    _assert_same(plain, module, _input(7))


@pytest.mark.parametrize(
    ("model", "name", "settings", "mode"),
    [
        ("llama", "LlamaMLP", {}, "silu"),
        ("llama", "LlamaMLP", {"mlp_bias": True}, "silu"),
        ("llama", "LlamaMLP", {"hidden_act": "relu2"}, "relu2"),
        ("llama", "LlamaMLP", {"hidden_act": "quick_gelu"}, "silu, alpha 1.702"),
        ("mistral", "MistralMLP", {}, "silu"),
        ("gemma", "GemmaMLP", {}, "gelu_tanh"),
        ("phi3", "Phi3MLP", {}, "silu"),
        ("glm", "GlmMLP", {}, "silu"),
        (
            "falcon_h1",
            "FalconH1MLP",
            {"mlp_multipliers": [0.5, 0.3]},
            "silu, gate · gate_multiplier",
        ),
        ("deepseek_v4", "DeepseekV4MLP", {"swiglu_limit": 7.0}, "silu, limit 7"),
        ("bitnet", "BitNetMLP", {}, "relu2"),
        ("t5", "T5DenseGatedActDense", {"d_model": HIDDEN, "d_ff": INNER, **GATED}, "gelu_tanh"),
        ("modernbert-decoder", "ModernBertDecoderMLP", {}, "gelu"),
    ],
)
def test_serves(model: str, name: str, settings: dict[str, Any], mode: str) -> None:
    _assert_served(_of(model, name, **settings), mode)


def test_a_forward_that_takes_three_dimensions_only_is_served() -> None:
    module = _of("moshi", "MoshiGatingMLP", ffn_dim=2 * INNER)
    plain = copy.deepcopy(module)
    assert _only(_patch(module)) == "silu"
    _assert_same(plain, module, _input(2, 5))


@pytest.mark.parametrize(
    ("model", "name", "mode"),
    [
        ("gpt_oss", "GptOssExperts", "silu, alpha 1.702, limit 7, up_offset 1"),
        ("deepseek_v4", "DeepseekV4Experts", "silu, limit 10"),
        ("mixtral", "MixtralExperts", "silu"),
    ],
)
def test_serves_experts(model: str, name: str, mode: str) -> None:
    module = _of(model, name, num_local_experts=EXPERTS, n_routed_experts=EXPERTS)
    module.config._experts_implementation = "batched_mm"
    plain = copy.deepcopy(module)
    assert _only(_patch(module)) == mode
    chosen = torch.tensor([[0, 1], [2, 0], [1, 2], [2, 1]], device=testing.device())
    _assert_same(plain, module, _input(4), chosen, torch.rand(4, 2, device=testing.device()))


def test_experts_that_do_not_call_the_method_are_left() -> None:
    module = _of("mixtral", "MixtralExperts", num_local_experts=EXPERTS)
    verdicts = Verdicts()
    for implementation, said in (("eager", "does not call"), ("grouped_mm", "silu")):
        module.config._experts_implementation = implementation
        assert said in _only(patch(module, verdicts=verdicts))
        unpatch(module)


class _OtherExperts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Hardtanh()

    def _apply_gate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return self.act(gate) * up  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self._apply_gate(x)


def test_experts_with_another_product_are_left_with_what_makes_it() -> None:
    module = nn.Sequential(nn.Linear(HIDDEN, 4), _OtherExperts()).to(testing.device())
    said = _only(_patch(module))
    assert said == "left: _apply_gate makes no product that glu computes, with Hardtanh"


class _Mlp(nn.Module):
    """A gated MLP, and what can be between or around; `made` says what its product is."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(HIDDEN, INNER, bias=False)
        self.two = nn.Linear(HIDDEN, INNER, bias=False)
        self.down = nn.Linear(INNER, HIDDEN, bias=False)
        self.act = nn.SiLU()

    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return self.act(gate) * up  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.made(self.one(x), self.two(x)))
        return y


class _Turned(_Mlp):
    """up is the first of the projections, and called first."""

    def forward(self, x: Tensor) -> Tensor:
        up = self.one(x)
        y: Tensor = self.down(self.made(self.two(x), up))
        return y


class _OneProjection(_Mlp):
    """up and gate in one tensor, in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(HIDDEN, 2 * INNER), None

    def forward(self, x: Tensor) -> Tensor:
        up, gate = self.one(x).chunk(2, -1)
        y: Tensor = self.down(self.made(gate, up))
        return y


class _InPlace(_Mlp):
    """It writes into what it made itself, which nobody sees."""

    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate, inplace=True).mul_(up)


class _Around(_Mlp):
    """A norm before, dropout after, a learned factor that is 1 in a new module; an option, and a
    parameter that nothing needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(HIDDEN), nn.Dropout(0.5)
        self.factor, self.unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor, index: int | None = None) -> Tensor:
        x = self.norm(x)
        y: Tensor = self.dropout(self.down(self.made(self.one(x), self.two(x)))) * self.factor
        return y if index is None else y[index]


class _Factor(_Mlp):
    """A buffer that is 1 until somebody changes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


def test_a_factor_may_change() -> None:
    module, x = _drawn(_Factor()), _input(3)
    assert _only(_patch(module)) == "silu"
    before = module(x)
    module.factor.fill_(2.0)
    assert torch.equal(module(x), 2 * before)


@pytest.mark.parametrize(
    "kind", [_Mlp, _Turned, _OneProjection, _InPlace], ids=lambda k: k.__name__
)
def test_serves_however_it_is_written(kind: type[_Mlp]) -> None:
    _assert_served(_drawn(kind()), "silu")


def test_what_is_around_stays() -> None:
    module, x = _drawn(_Around()), _input(2, 5)
    plain = copy.deepcopy(module)
    assert _only(_patch(module)) == "silu"
    _assert_same(plain, module, x)
    assert torch.equal(module(x, index=0), plain(x)[0])
    assert (module.train()(x) == 0).float().mean() > 0.3


def test_a_dropout_without_a_module_is_drawn_as_the_module_draws_it() -> None:
    module, x = _of("seed_oss", "SeedOssMLP", residual_dropout=0.5).train(), _input(2, 5)
    plain = copy.deepcopy(module)
    assert _only(_patch(module)) == "silu"
    _assert_same(plain.eval(), module.eval(), x)
    plain.train()
    module.train()
    torch.manual_seed(2)
    expected = plain(x)
    torch.manual_seed(2)
    assert torch.equal(module(x) == 0, expected == 0)


class _NearlyOne(_Mlp):
    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate * 1.0001) * up


class _Softer(_Mlp):
    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.mish(gate) * up


class _ClampedAfter(_Mlp):
    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate).clamp(max=5000.0) * up


class _BiasAfter(_Mlp):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(INNER))

    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate) * up + self.bias


class _Residual(_Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class _WritesInput(_Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2.0))


class _Dropout(_Mlp):
    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.dropout(super().made(gate, up), 0.1, self.training)


class _OnlyInTraining(_Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2.0 if self.training else 1.0)


class _Two(_Mlp):
    def forward(self, x: Tensor, residual: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x) + residual


class _Reshapes(_Mlp):
    """It joins neighbours, as projectors of images do."""

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        return super().forward(x.reshape(batch, tokens // 2, 2 * width))


class _Detached(_Mlp):
    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate) * up.detach()


class _Weighted(_Mlp):
    def forward(self, x: Tensor) -> Tensor:
        product = self.made(self.one(x), self.two(x))
        return F.linear(product, self.down.weight)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (_NearlyOne, "no product"),
        (_Softer, "no product"),
        (_ClampedAfter, "no product"),
        (_BiasAfter, "no product"),
        (_Residual, "not its result"),
        (_WritesInput, "writes into its input"),
        (_Dropout, "random"),
        (_OnlyInTraining, "something else"),
        (_Reshapes, "before it calls one"),
        (_Detached, "d(input)"),
        (_Weighted, "size mismatch"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_leaves_alone_what_is_else(kind: type[_Mlp], reason: str) -> None:
    module = _drawn(kind())
    said = _only(_patch(module))
    assert said.startswith("left") and reason in said
    assert "forward" not in vars(module)


def test_a_projection_kept_in_float32_is_left() -> None:
    module = _drawn(_Mlp())
    module.down.float()
    assert "torch.bfloat16 and torch.float32" in _only(_patch(module))


class _Plain(nn.Module):
    """An MLP without a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(HIDDEN, INNER), nn.Linear(INNER, HIDDEN)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class _PlainOfSquares(nn.Module):
    """An MLP without a gate whose widths are a gated one's."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.out, self.act = nn.Linear(HIDDEN, 3), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.act(self.fc2(self.act(self.fc1(x)))))
        return y


class _PlainOfHalves(nn.Sequential):
    def __init__(self) -> None:
        wide = nn.Linear(HIDDEN, 2 * HIDDEN)
        super().__init__(nn.Linear(HIDDEN, HIDDEN), nn.GELU(), wide)


class _Empty(nn.Module):
    """What a config leaves without columns."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(HIDDEN, 0), nn.Linear(0, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up(F.silu(self.down(x)))
        return y


class _OfSquares(_Mlp):
    """A gate, with the widths of a plain MLP."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("one", "two", "down"):
            setattr(self, name, nn.Linear(HIDDEN, HIDDEN))


class _Mixer(_Mlp):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(INNER, INNER, 3, padding=1)

    def made(self, gate: Tensor, up: Tensor) -> Tensor:
        return super().made(gate, self.conv(up.mT).mT)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "kind",
    [_Plain, _PlainOfSquares, _PlainOfHalves, _Empty, _Mixer, _Two],
    ids=lambda k: k.__name__,
)
def test_what_is_no_gated_mlp_is_no_candidate(kind: type[nn.Module]) -> None:
    assert not _patch(_drawn(kind())).entries


def test_widths_do_not_tell_a_plain_mlp() -> None:
    _assert_served(_drawn(_OfSquares()), "silu")


class _Adapted(nn.Module):
    """A projection and what an adapter adds, as LoRA's."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.a = nn.Linear(base.in_features, 2, bias=False)
        self.b = nn.Linear(2, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.b(self.a(x))
        return y


def test_an_adapter_stays() -> None:
    module = _Mlp()
    module.one, module.down = _Adapted(module.one), _Adapted(module.down)
    _assert_served(_drawn(module), "silu")


def test_hooks_of_projections_are_called() -> None:
    module, seen = _drawn(_Mlp()), []
    module.two.register_forward_hook(lambda *_: seen.append("two"))
    _patch(module)
    assert not seen  # a proof calls none
    module(_input(3))
    assert seen == ["two"]


def test_unpatch_is_exact() -> None:
    module = _drawn(_Mlp())
    before = dict(vars(module))
    _patch(module)
    assert vars(module) != before
    unpatch(module)
    assert vars(module) == before


def test_leaves_alone_what_somebody_replaced() -> None:
    module = _drawn(_Mlp())
    module.forward = lambda x: x  # type: ignore[method-assign]
    assert "replaced on the instance" in _only(_patch(module))


def test_a_dtype_without_a_kernel_is_left_to_the_class() -> None:
    module = _drawn(_Mlp())
    plain = copy.deepcopy(module).double()
    _patch(module)
    x = _input(3).double()
    assert torch.equal(module.double()(x), plain(x))


def test_copies_and_pickles() -> None:
    module, x = _drawn(_Mlp()), _input(3)
    _patch(module)
    expected = module(x)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), expected)
        nn.init.zeros_(other.down.weight)  # so it is its own that it calls
        assert not other(x).any()
        assert module(x).any()


def test_compiles_to_one_graph_with_the_kernel() -> None:
    module, x = _drawn(_Mlp()), _input(3)
    _patch(module)
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    y = torch.compile(module, fullgraph=True, backend=backend)(x)
    assert torch.equal(y, module(x))
    (graph,) = graphs
    assert "workbench_kernels" in graph.code
