"""dyt against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.dyt.spec import SPEC
from workbench_kernels.dyt.wrapper import Dyt, dyt

WITHOUT_BIAS: dict[str, Any] = {"bias": None}


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return testing.draw(SPEC, rows, cols, dtype)


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, dyt, case)


def test_is_tanh_at_every_size() -> None:
    """From where tanh is its argument to where it is 1, element by element."""
    x = torch.logspace(-30, 2, 4001, device=testing.device(), dtype=torch.float64).float()
    one = torch.ones(1, device=x.device)
    y = dyt(torch.stack([x, -x], -1).flatten()[:, None], one, one).flatten()
    expected = torch.tanh(torch.stack([x, -x], -1).flatten().double())
    assert ((y - expected).abs() <= 2.0**-22 * expected.abs()).all()
    assert torch.equal(y[::2], -y[1::2])


def test_its_slope_does_not_cancel() -> None:
    """1 − tanh² would be 0 from 9 on."""
    x = torch.linspace(-40, 40, 1601, device=testing.device()).requires_grad_()
    one = torch.ones(1, device=x.device)
    (dx,) = torch.autograd.grad(dyt(x[:, None], one, one).sum(), x)
    expected = 1 / torch.cosh(x.detach().double()).square()
    assert ((dx - expected).abs() <= 1e-5 * expected).all()


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("scale", [1e-3, 8.0])
def test_matches_where_it_is_straight_and_where_it_is_flat(
    scale: float, dtype: torch.dtype
) -> None:
    x, *parameters = draw(17, 100, dtype)
    testing.check(SPEC, dyt, (scale * x, *parameters), parameters=WITHOUT_BIAS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0])
def test_special_values_come_out_as_pytorchs(value: float) -> None:
    x, *parameters = draw(2, 8)
    x[1, 3] = value
    expected = SPEC.reference(x, *parameters)
    torch.testing.assert_close(dyt(x, *parameters), expected, equal_nan=True)


def test_an_infinite_alpha_gives_signs() -> None:
    x, alpha, weight, bias = draw(3, 100)
    leaves = x, torch.full_like(alpha, float("inf")).requires_grad_(), weight.requires_grad_()
    y = dyt(*leaves, bias)
    torch.testing.assert_close(y, weight * x.sign() + bias)
    dalpha, dweight = torch.autograd.grad(y.sum(), leaves[1:])
    assert not dalpha
    torch.testing.assert_close(dweight, x.sign().sum(0))


@pytest.mark.parametrize("shape", [(40, 7), (3, 1031)], ids=str)
@pytest.mark.parametrize(
    "wanted", [("x",), ("alpha",), ("weight",), ("bias",), ("x", "bias")], ids=str
)
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
    dyt(**leaves).sin().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_takes_alpha_with_and_without_a_dimension(shape: tuple[int, ...]) -> None:
    x, alpha, *parameters = draw(9, 512)
    testing.check(SPEC, dyt, (x, alpha.view(shape), *parameters))


def test_leaves_its_callers_tensors_as_they_were() -> None:
    given = draw(17, 100)
    before = [t.clone() for t in given]
    leaves = [t.requires_grad_() for t in given]
    y = dyt(*leaves)
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
    x, *parameters = (t.requires_grad_() for t in draw(2, 8))
    y = dyt(x[:0], *parameters)
    grads = torch.autograd.grad(y.sum(), parameters)
    assert y.shape == (0, 8)
    assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, dyt, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    x, *parameters = draw(12, 33)
    testing.check(SPEC, dyt, (testing.BATCHES[layout](x.view(3, 4, 33)), *parameters))


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, dyt)


def test_is_a_torch_op_without_a_bias() -> None:
    x, alpha, weight, _bias = draw(3, 100)
    x.requires_grad_()
    testing.check_ops("dyt", lambda: dyt(x, alpha, weight).sum().backward())
    compiled = torch.compile(partial(dyt, bias=None), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, alpha, weight), dyt(x, alpha, weight))


def test_has_no_second_derivative() -> None:
    x, *parameters = (t.requires_grad_() for t in draw(2, 8))
    (dx,) = torch.autograd.grad(dyt(x, *parameters).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="dyt has no second derivative"):
        dx.sum().backward()


@pytest.mark.parametrize("biased", [False, True])
def test_module_is_the_function(biased: bool) -> None:
    x, alpha, weight, bias = draw(3, 100, torch.bfloat16)
    module = Dyt(100, alpha_init=0.25, bias=biased).to(x)
    assert torch.equal(module.alpha, torch.full_like(alpha, 0.25))
    assert torch.equal(module.weight, torch.ones_like(weight))
    values = {"alpha": alpha, "weight": weight} | ({"bias": bias} if biased else {})
    module.load_state_dict(values)
    assert torch.equal(module(x), dyt(x, alpha, weight, bias if biased else None))
    assert f"100, alpha_init=0.25, bias={biased}" in repr(module)


def test_refuses_other_dtypes() -> None:
    x, alpha, weight, bias = draw(2, 8)
    with pytest.raises(TypeError, match=r"dyt: x is torch\.float64"):
        dyt(*(t.double() for t in (x, alpha, weight, bias)))
    with pytest.raises(TypeError, match=r"alpha is torch\.bfloat16 but x is torch\.float32"):
        dyt(x, alpha.bfloat16(), weight, bias)
    with pytest.raises(TypeError, match=r"bias is torch\.bfloat16 but x is torch\.float32"):
        dyt(x, alpha, weight, bias.bfloat16())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": torch.ones(8)}, r"alpha has shape \(8,\), expected \(1,\)"),
        ({"weight": torch.ones(9)}, r"weight has shape \(9,\), expected \(8,\)"),
        ({"bias": torch.ones(1)}, r"bias has shape \(1,\), expected \(8,\)"),
        ({"x": torch.ones(2, 0)}, "its last dimension must not be empty"),
        ({"x": torch.ones(())}, "its last dimension must not be empty"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_what_does_not_fit(options: dict[str, Tensor], message: str) -> None:
    x, alpha, weight, bias = draw(2, 8)
    moved = {k: v.to(x.device) for k, v in options.items()}
    with pytest.raises(ValueError, match=f"dyt: .*{message}"):
        dyt(**{"x": x, "alpha": alpha, "weight": weight, "bias": bias, **moved})


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, dyt)
