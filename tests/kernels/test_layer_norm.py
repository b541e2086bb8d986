"""layer_norm against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.layer_norm.spec import SPEC, VARIANTS
from workbench_kernels.layer_norm.wrapper import LayerNorm, layer_norm
from workbench_kernels.spec import OpSpec

WIDE = (2, 17003)  # is read in blocks, the last of them not full
PIECES = (3, 300)  # is held in three pieces, the last of them not full


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return testing.draw(SPEC, rows, cols, dtype)


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, layer_norm, case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [PIECES, WIDE], ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    testing.check(SPEC, layer_norm, draw(*shape, dtype), parameters=VARIANTS[name])


@pytest.mark.parametrize("shape", [(9, 40), PIECES, WIDE], ids=str)
def test_is_what_pytorch_computes_far_from_zero(shape: tuple[int, int]) -> None:
    x, weight, bias = draw(*shape)
    testing.check(SPEC, layer_norm, (x + 1000.0, weight, bias))
    steps = torch.arange(shape[1], device=x.device).expand(shape).float()
    testing.check(SPEC, layer_norm, (steps, weight, bias))


@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3])
def test_of_two_values_near_each_other(distance: float) -> None:
    """Their gradients are what is left of numbers that are far larger."""
    x, weight, bias = draw(100, 2)
    for _ in range(4):
        x = x.roll(7, 0).add(x.roll(3, 0)) / 2**0.5
        testing.check(SPEC, layer_norm, (x * distance + 100.0, weight, bias))


@pytest.mark.parametrize("shape", [(3, 40), PIECES, WIDE], ids=str)
def test_of_one_value_is_the_bias(shape: tuple[int, int]) -> None:
    x, weight, bias = draw(*shape)
    y = layer_norm(torch.full_like(x, 0.75), None, weight, bias)
    assert torch.equal(y, bias.expand(shape))


@pytest.mark.parametrize("shape", [(40, 7), WIDE], ids=str)
@pytest.mark.parametrize("wanted", [("input",), ("weight",), ("bias",), ("input", "bias")], ids=str)
def test_gives_only_the_gradient_that_is_wanted(
    wanted: tuple[str, ...], shape: tuple[int, int]
) -> None:
    inputs = draw(*shape)
    every = _gradients(inputs, SPEC.differentiable)
    found = _gradients(inputs, wanted)
    assert [*found] == [*wanted]
    for name, grad in found.items():
        testing.assert_same(grad, every[name])


def _gradients(inputs: tuple[Tensor, ...], wanted: tuple[str, ...]) -> dict[str, Tensor]:
    leaves = {
        name: t.clone().requires_grad_(name in wanted)
        for name, t in zip(SPEC.tensors, inputs, strict=True)
    }
    layer_norm(**leaves).sin().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("shape", [(17, 100), WIDE], ids=str)
def test_leaves_its_callers_tensors_as_they_were(shape: tuple[int, int]) -> None:
    given = draw(*shape)
    before = [t.clone() for t in given]
    leaves = [t.requires_grad_() for t in given]
    y = layer_norm(**dict(zip(SPEC.tensors, leaves, strict=True)))
    dy = torch.randn_like(y)
    sent = dy.clone()
    torch.autograd.grad(y, leaves, dy)
    for now, was in zip([*given, dy], [*before, sent], strict=True):
        assert torch.equal(now, was)


def test_repeats_bit_for_bit() -> None:
    inputs = draw(300, 7, torch.bfloat16)
    one, again = (_gradients(inputs, SPEC.differentiable) for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_takes_no_rows() -> None:
    x, weight, bias = (t.requires_grad_() for t in draw(2, 8))
    y = layer_norm(x[:0], None, weight, bias)
    grads = torch.autograd.grad(y.sum(), (weight, bias))
    assert y.shape == (0, 8)
    assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, layer_norm, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    x, weight, bias = draw(12, 33)
    testing.check(SPEC, layer_norm, (testing.BATCHES[layout](x.view(3, 4, 33)), weight, bias))


def _with(**options: Any) -> OpSpec:
    return replace(SPEC, reference=partial(SPEC.reference, **options))


def test_is_a_torch_op() -> None:
    testing.check_torch_op(_with(eps=0.1), partial(layer_norm, eps=0.1))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_is_a_torch_op_without_parameters(weighted: bool, biased: bool) -> None:
    x, *given = draw(3, 100)
    x.requires_grad_()
    parameters = [p if there else None for p, there in zip(given, (weighted, biased), strict=True)]
    testing.check_ops("layer_norm", lambda: layer_norm(x, None, *parameters).sum().backward())
    compiled = torch.compile(layer_norm, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, None, *parameters), layer_norm(x, None, *parameters))


def test_has_no_second_derivative() -> None:
    x, weight, bias = (t.requires_grad_() for t in draw(2, 8))
    (dx,) = torch.autograd.grad(layer_norm(x, None, weight, bias).sin().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="layer_norm has no second derivative"):
        dx.sum().backward()


@pytest.mark.parametrize(
    "options", [{"eps": 0.5}, {"bias": False}, {"elementwise_affine": False}], ids=str
)
def test_module_takes_what_pytorchs_has(options: dict[str, Any]) -> None:
    x, weight, bias = draw(3, 100)
    theirs = torch.nn.LayerNorm(100, **options).to(x)
    for mine, drawn in ((theirs.weight, weight), (theirs.bias, bias)):
        if mine is not None:
            mine.data.copy_(drawn)
    ours = LayerNorm(100, **options).to(x)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours(x), layer_norm(x, None, theirs.weight, theirs.bias, theirs.eps))
    torch.testing.assert_close(ours(x), theirs(x))
    assert f"bias={theirs.bias is not None}" in repr(ours)


def test_module_begins_as_pytorchs() -> None:
    module = LayerNorm(8)
    assert torch.equal(module.weight, torch.ones(8))
    assert torch.equal(module.bias, torch.zeros(8))


def test_its_arguments_are_pytorchs() -> None:
    x, weight, bias = draw(3, 100)
    arguments = (x, (100,), weight, bias, 0.1)
    torch.testing.assert_close(layer_norm(*arguments), F.layer_norm(*arguments))
    torch.testing.assert_close(layer_norm(x), F.layer_norm(x, (100,)))
    torch.testing.assert_close(layer_norm(x, 100, bias=bias), layer_norm(x, [100], None, bias))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_several_dimensions_are_one_row(transposed: bool, dims: int) -> None:
    x, *_ = draw(6, 40)
    x = x.view(2, 3, 5, 8)
    x = x.transpose(0, 3) if transposed else x
    shape = x.shape[-dims:]
    weight, bias = torch.randn_like(x[(0,) * (4 - dims)]), torch.randn_like(x[(0,) * (4 - dims)])
    ours, theirs = ([t.clone().requires_grad_() for t in (x, weight, bias)] for _ in range(2))
    y = layer_norm(ours[0], shape, *ours[1:])
    wanted = F.layer_norm(theirs[0], shape, *theirs[1:])
    torch.testing.assert_close(y, wanted)
    dy = torch.randn_like(y)
    grads = (torch.autograd.grad(a, b, dy) for a, b in ((y, ours), (wanted, theirs)))
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(layer_norm(x, shape), F.layer_norm(x, shape))
    module = LayerNorm(shape).to(x)
    module.load_state_dict({"weight": weight, "bias": bias})
    assert torch.equal(module(x), y)


@pytest.mark.parametrize("shape", [9, (9,), (2,), (3, 8), (1, 2, 8), ()], ids=str)
def test_refuses_what_is_not_the_shape_of_its_rows(shape: Any) -> None:
    x, weight, bias = draw(2, 8)
    with pytest.raises(ValueError, match=r"layer_norm: normalized_shape is \(.*has shape \(2, 8\)"):
        layer_norm(x, shape)
    with pytest.raises(ValueError, match=r"weight has shape \(8,\), expected \(2, 8\)"):
        layer_norm(x, (2, 8), weight)
    with pytest.raises(ValueError, match="must not be empty"):
        layer_norm(x[:0], (0, 8))
    with pytest.raises(TypeError, match="normalized_shape is a tensor; weight comes after it"):
        layer_norm(x, weight, bias)  # type: ignore[arg-type]


def test_refuses_other_dtypes() -> None:
    x, weight, bias = draw(2, 8)
    with pytest.raises(TypeError, match=r"layer_norm: input is torch\.float64"):
        layer_norm(x.double())
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but input is torch\.float32"):
        layer_norm(x, None, weight.bfloat16(), bias)
    with pytest.raises(TypeError, match=r"bias is torch\.bfloat16 but input is torch\.float32"):
        layer_norm(x, None, weight, bias.bfloat16())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": torch.ones(9)}, r"weight has shape \(9,\), expected \(8,\)"),
        ({"weight": torch.ones(1)}, r"weight has shape \(1,\), expected \(8,\)"),
        ({"bias": torch.ones(2, 8)}, r"bias has shape \(2, 8\), expected \(8,\)"),
        ({"input": torch.ones(2, 0)}, "its last dimension must not be empty"),
        ({"input": torch.ones(())}, "its last dimension must not be empty"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_what_does_not_fit(options: dict[str, Tensor], message: str) -> None:
    x, weight, bias = draw(2, 8)
    moved = {k: v.to(x.device) for k, v in options.items()}
    with pytest.raises(ValueError, match=f"layer_norm: .*{message}"):
        layer_norm(**{"input": x, "weight": weight, "bias": bias, **moved})


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, layer_norm)
