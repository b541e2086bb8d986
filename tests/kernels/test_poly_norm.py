"""poly_norm against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.poly_norm.spec import SPEC
from workbench_kernels.poly_norm.wrapper import PolyNorm, poly_norm

WIDE = (2, 17003)  # is read in blocks, the last of them not full
PIECES = (3, 300)  # is held in three pieces, the last of them not full


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return testing.draw(SPEC, rows, cols, dtype)


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, poly_norm, case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [PIECES, WIDE], ids=str)
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_every_way_to_read_a_row(eps: float, shape: tuple[int, int], dtype: torch.dtype) -> None:
    testing.check(SPEC, poly_norm, draw(*shape, dtype), parameters={"eps": eps})


@pytest.mark.parametrize("shape", [(5, 40), PIECES, WIDE], ids=str)
@pytest.mark.parametrize("scale", [1e5, 1e8, 1e20, 1e37])
def test_stays_right_where_the_sixth_power_leaves_float32(
    scale: float, shape: tuple[int, int]
) -> None:
    """Without eps in reach it depends on the directions of rows only, and scaling does nothing."""
    x, weight, bias = draw(*shape)
    x = x.sign() * (0.5 + x.abs())
    factor = 2.0 ** torch.tensor(scale).log2().floor()
    x *= 1024  # so that nothing is lost to eps
    near, far = (t.detach().requires_grad_() for t in (x, x * (factor / 1024)))
    dy = torch.randn_like(x)
    for at, given in ((near, []), (far, [])):
        y = poly_norm(at, weight, bias)
        given += [y, *torch.autograd.grad(y, at, dy)]
        if at is near:
            expected = given
    assert torch.equal(given[0], expected[0])
    torch.testing.assert_close(given[1] * (factor / 1024), expected[1], rtol=1e-5, atol=1e-6)


def test_a_power_of_two_changes_no_bit() -> None:
    """A row just below the largest size that is not scaled, and its double, which is."""
    x, weight, bias = draw(9, 100)
    x *= 0.999 / x.abs().amax(-1, keepdim=True)
    one, other = (poly_norm(x * factor, weight, bias, eps=0.0) for factor in (1.0, 2.0))
    assert torch.equal(one, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0])
@pytest.mark.parametrize("shape", [(3, 8), PIECES, WIDE], ids=str)
def test_special_values_come_out_as_pytorchs(shape: tuple[int, int], value: float) -> None:
    x, weight, bias = draw(*shape)
    x[1, 3] = value
    expected = SPEC.reference(x, weight, bias)
    torch.testing.assert_close(poly_norm(x, weight, bias), expected, equal_nan=True)


def test_zeros_give_the_bias() -> None:
    x, weight, bias = draw(3, 40)
    assert torch.equal(poly_norm(torch.zeros_like(x), weight, bias), bias.expand(3, 40))


def test_the_biass_gradient_is_right_where_much_of_it_cancels() -> None:
    for seed in range(30):
        inputs = testing.draw(SPEC, 3, 129, torch.float32, seed)
        testing.check(SPEC, poly_norm, inputs, seed=seed)


@pytest.mark.parametrize("shape", [(40, 7), WIDE], ids=str)
@pytest.mark.parametrize("wanted", [("x",), ("weight",), ("bias",), ("x", "bias")], ids=str)
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
    poly_norm(**leaves).sin().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("shape", [(17, 100), WIDE], ids=str)
def test_leaves_its_callers_tensors_as_they_were(shape: tuple[int, int]) -> None:
    given = draw(*shape)
    before = [t.clone() for t in given]
    leaves = [t.requires_grad_() for t in given]
    y = poly_norm(*leaves)
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
    y = poly_norm(x[:0], weight, bias)
    grads = torch.autograd.grad(y.sum(), (weight, bias))
    assert y.shape == (0, 8)
    assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, poly_norm, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    x, weight, bias = draw(12, 33)
    testing.check(SPEC, poly_norm, (testing.BATCHES[layout](x.view(3, 4, 33)), weight, bias))


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, poly_norm)


def test_has_no_second_derivative() -> None:
    x, weight, bias = (t.requires_grad_() for t in draw(2, 8))
    (dx,) = torch.autograd.grad(poly_norm(x, weight, bias).sin().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="poly_norm has no second derivative"):
        dx.sum().backward()


def test_module_is_the_function() -> None:
    x, weight, bias = draw(3, 100, torch.bfloat16)
    module = PolyNorm(eps=0.5).to(x)
    assert torch.equal(module.weight, torch.full_like(weight, 1 / 3))
    assert not module.bias
    module.load_state_dict({"weight": weight, "bias": bias})
    assert torch.equal(module(x), poly_norm(x, weight, bias, eps=0.5))
    assert "eps=0.5" in repr(module)


def test_refuses_other_dtypes() -> None:
    x, weight, bias = draw(2, 8)
    with pytest.raises(TypeError, match=r"poly_norm: x is torch\.float64"):
        poly_norm(x.double(), weight.double(), bias.double())
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but x is torch\.float32"):
        poly_norm(x, weight.bfloat16(), bias)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": torch.ones(8)}, r"weight has shape \(8,\), expected \(3,\)"),
        ({"bias": torch.ones(())}, r"bias has shape \(\), expected \(1,\)"),
        ({"x": torch.ones(2, 0)}, "its last dimension must not be empty"),
        ({"x": torch.ones(())}, "its last dimension must not be empty"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    x, weight, bias = draw(2, 8)
    moved = {k: v.to(x.device) for k, v in options.items()}
    with pytest.raises(ValueError, match=f"poly_norm: .*{message}"):
        poly_norm(**{"x": x, "weight": weight, "bias": bias, **moved})


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, poly_norm)
