"""gated_rms_norm against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.gated_rms_norm.spec import SPEC, VARIANTS
from workbench_kernels.gated_rms_norm.wrapper import GatedRmsNorm, gated_rms_norm
from workbench_kernels.spec import OpSpec

WIDE = (1, 16500)  # is read in blocks, the last of them not full
PIECES = (3, 600)  # two groups of it are held in three pieces, the last of them not full
NAMES = pytest.mark.parametrize("name", VARIANTS)


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return testing.draw(SPEC, rows, cols, dtype)


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, gated_rms_norm, case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_groups", [1, 3])
@pytest.mark.parametrize("gate_first", [False, True])
def test_normalises_groups_by_themselves(
    gate_first: bool, num_groups: int, dtype: torch.dtype
) -> None:
    options = {"gate_first": gate_first, "num_groups": num_groups}
    testing.check(SPEC, gated_rms_norm, draw(*PIECES, dtype), parameters=options)


@pytest.mark.parametrize("gate_first", [False, True])
def test_wide_groups_are_read_in_blocks(gate_first: bool) -> None:
    x, gate, weight = (t.requires_grad_() for t in draw(1, 2 * WIDE[1]))
    both = gated_rms_norm(x, gate, weight, gate_first=gate_first, num_groups=2)
    halves = zip(x.chunk(2, -1), gate.chunk(2, -1), weight.chunk(2, -1), strict=True)
    each = torch.cat([gated_rms_norm(*half, gate_first=gate_first) for half in halves], -1)
    assert torch.equal(both, each)
    grads = (torch.autograd.grad(y.sin().sum(), (x, gate, weight)) for y in (both, each))
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


@NAMES
def test_every_variant_of_a_wide_row(name: str) -> None:
    options = {**VARIANTS[name], "num_groups": 1}
    testing.check(SPEC, gated_rms_norm, draw(*WIDE, torch.bfloat16), parameters=options)


@pytest.mark.parametrize("gate_first", [False, True])
def test_rounds_where_it_is_told_to(gate_first: bool) -> None:
    inputs = draw(19, 258, torch.bfloat16)
    options = {"gate_first": gate_first, "num_groups": 2}
    for ours, theirs, alike in (
        ("once", "once", True),
        ("before_weight", "before_weight", True),
        ("once", "before_weight", False),
    ):
        got = gated_rms_norm(*inputs, **options, rounding=ours)
        expected = SPEC.reference(*inputs, **options, rounding=theirs)
        # Sums in another order move few results across a boundary between two numbers.
        assert bool((got == expected).double().mean() > 0.98) is alike


@pytest.mark.parametrize("activation", ["silu", "sigmoid"])
def test_the_gates_gradient_does_not_cancel(activation: str) -> None:
    """Where the gate is open or shut; 1 − σ would be 0 from 17 on."""
    gate = torch.linspace(-40, 40, 401, device=testing.device()).requires_grad_()
    x, weight = torch.ones_like(gate)[:, None], torch.ones(1, device=gate.device)
    y = gated_rms_norm(x, gate[:, None], weight, eps=0.0, activation=activation)
    (dgate,) = torch.autograd.grad(y.sum(), gate)
    z = gate.detach().double()
    slope = torch.sigmoid(z) * torch.sigmoid(-z)
    if activation == "silu":
        slope = torch.sigmoid(z) + z * slope
    assert ((dgate - slope).abs() <= 1e-5 * slope.abs() + 1e-37).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0])
@pytest.mark.parametrize("target", ["x", "gate"])
@pytest.mark.parametrize("name", ["qwen3-next", "kimi-linear", "falcon-h1"])
def test_special_values_come_out_as_pytorchs(name: str, target: str, value: float) -> None:
    x, gate, weight = draw(3, 8)
    {"x": x, "gate": gate}[target][1, 3] = value
    expected = SPEC.reference(x, gate, weight, **VARIANTS[name])
    got = gated_rms_norm(x, gate, weight, **VARIANTS[name])
    torch.testing.assert_close(got, expected, equal_nan=True)


@pytest.mark.parametrize("gate_first", [False, True])
@pytest.mark.parametrize("shape", [(40, 8), WIDE], ids=str)
@pytest.mark.parametrize("wanted", [("x",), ("gate",), ("weight",), ("gate", "weight")], ids=str)
def test_gives_only_the_gradient_that_is_wanted(
    wanted: tuple[str, ...], shape: tuple[int, int], gate_first: bool
) -> None:
    inputs = draw(*shape)
    every = _gradients(inputs, SPEC.differentiable, gate_first)
    found = _gradients(inputs, wanted, gate_first)
    assert [*found] == [*wanted]
    for name, grad in found.items():
        testing.assert_same(grad, every[name])


def _gradients(
    inputs: tuple[Tensor, ...], wanted: tuple[str, ...], gate_first: bool = False
) -> dict[str, Tensor]:
    leaves = {
        name: t.clone().requires_grad_(name in wanted)
        for name, t in zip(SPEC.tensors, inputs, strict=True)
    }
    num_groups = 1 if inputs[0].shape == WIDE else 2
    gated_rms_norm(**leaves, gate_first=gate_first, num_groups=num_groups).sin().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def test_leaves_its_callers_tensors_as_they_were() -> None:
    given = draw(17, 100)
    before = [t.clone() for t in given]
    leaves = [t.requires_grad_() for t in given]
    y = gated_rms_norm(*leaves, gate_first=True, num_groups=4)
    dy = torch.randn_like(y)
    sent = dy.clone()
    torch.autograd.grad(y, leaves, dy)
    for now, was in zip([*given, dy], [*before, sent], strict=True):
        assert torch.equal(now, was)


def test_repeats_bit_for_bit() -> None:
    inputs = draw(300, 6, torch.bfloat16)
    one, again = (_gradients(inputs, SPEC.differentiable) for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_takes_no_rows() -> None:
    x, gate, weight = (t.requires_grad_() for t in draw(2, 8))
    y = gated_rms_norm(x[:0], gate[:0], weight, num_groups=2)
    (dweight,) = torch.autograd.grad(y.sum(), weight)
    assert y.shape == (0, 8)
    assert not dweight.any()


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, gated_rms_norm, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    x, gate, weight = draw(12, 33)
    put = testing.BATCHES[layout]
    inputs = put(x.view(3, 4, 33)), put(gate.view(3, 4, 33)), weight
    testing.check(SPEC, gated_rms_norm, inputs)


def _with(**options: Any) -> OpSpec:
    return replace(SPEC, reference=partial(SPEC.reference, **options))


@pytest.mark.parametrize("name", ["qwen3-next", "falcon-h1"])
def test_is_a_torch_op(name: str) -> None:
    options = VARIANTS[name]
    testing.check_torch_op(_with(**options), partial(gated_rms_norm, **options))


def test_has_no_second_derivative() -> None:
    x, gate, weight = (t.requires_grad_() for t in draw(2, 8))
    (dx,) = torch.autograd.grad(gated_rms_norm(x, gate, weight).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="gated_rms_norm has no second derivative"):
        dx.sum().backward()


@NAMES
def test_module_is_the_function(name: str) -> None:
    x, gate, weight = draw(3, 100, torch.bfloat16)
    module = GatedRmsNorm(100, eps=0.5, **VARIANTS[name]).to(x)
    assert torch.equal(module.weight, torch.ones_like(weight))
    module.load_state_dict({"weight": weight})
    wanted = gated_rms_norm(x, gate, weight, eps=0.5, **VARIANTS[name])
    assert torch.equal(module(x, gate), wanted)
    assert f"num_groups={VARIANTS[name].get('num_groups', 1)}" in repr(module)


def test_refuses_other_dtypes() -> None:
    x, gate, weight = draw(2, 8)
    with pytest.raises(TypeError, match=r"gated_rms_norm: x is torch\.float64"):
        gated_rms_norm(x.double(), gate.double(), weight.double())
    with pytest.raises(TypeError, match=r"gate is torch\.float32 but x is torch\.bfloat16"):
        gated_rms_norm(x.bfloat16(), gate, weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"rounding": "twice"}, "rounding is 'twice'"),
        ({"num_groups": 3}, "num_groups is 3, which does not divide 8 columns"),
        ({"num_groups": 0}, "num_groups is 0, which does not divide 8 columns"),
        ({"weight": torch.ones(9)}, r"weight has shape \(9,\), expected \(8,\)"),
        ({"gate": torch.ones(1, 8)}, r"gate has shape \(1, 8\), expected \(2, 8\)"),
        ({"x": torch.ones(2, 0)}, "its last dimension must not be empty"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    x, gate, weight = draw(2, 8)
    moved = {k: v.to(x.device) if isinstance(v, Tensor) else v for k, v in options.items()}
    with pytest.raises(ValueError, match=f"gated_rms_norm: .*{message}"):
        gated_rms_norm(**{"x": x, "gate": gate, "weight": weight, **moved})


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, gated_rms_norm)
