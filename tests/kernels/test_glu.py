"""glu against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.glu.kernel import glu_backward_in_place
from workbench_kernels.glu.spec import SPEC
from workbench_kernels.glu.wrapper import ACTIVATIONS, Glu, glu

GPT_OSS: dict[str, Any] = {"interleaved": True, "limit": 7.0, "alpha": 1.702, "up_offset": 1.0}


def _both(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor that holds gate and up, some of it beyond gpt-oss's limit."""
    generator = torch.Generator().manual_seed(0)
    return (5 * torch.randn(shape, generator=generator)).to(testing.device(), dtype)


def _gradients(y: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return torch.autograd.grad(y, leaves, torch.randn(y.shape, generator=generator).to(y))


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, glu, case)


@pytest.mark.parametrize("options", [{}, {"limit": 0.5}], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_takes_any_width(activation: str, options: dict[str, Any]) -> None:
    inputs = testing.draw(SPEC, 3, 1031, torch.float32)
    testing.check(SPEC, glu, inputs, parameters={"activation": activation, **options})


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, glu, layout)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
@pytest.mark.parametrize("interleaved", [False, True])
def test_takes_any_layout_of_both(interleaved: bool, layout: str) -> None:
    put = testing.LAYOUTS[layout]
    inputs = [put(t) for t in testing.draw(SPEC, 5, 70, torch.bfloat16)]
    options = {"up": None, "interleaved": interleaved}
    testing.check(SPEC, glu, inputs, parameters=options, layout=put)


@pytest.mark.parametrize("shape", [(), (6,), (2, 3, 6), (2, 1, 3, 6)], ids=str)
def test_takes_any_dimensions(shape: tuple[int, ...]) -> None:
    inputs = [_both(*shape), _both(*shape).flip(-1) if shape else _both()]
    testing.check(SPEC, glu, inputs, parameters=dict(GPT_OSS, interleaved=False))
    if shape:
        testing.check(SPEC, glu, inputs, parameters={"up": None, **GPT_OSS})


@pytest.mark.parametrize("shape", [(0, 6), (3, 0), (0,)], ids=str)
def test_takes_nothing(shape: tuple[int, ...]) -> None:
    both = _both(*shape).requires_grad_()
    half = (*shape[:-1], shape[-1] // 2)
    for y, expected in ((glu(both), half), (glu(both, both), shape)):
        assert y.shape == expected
        assert _gradients(y, both)[0].shape == shape


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_tensor_is_its_two_parts(activation: str, interleaved: bool) -> None:
    both = _both(2, 5, 74).requires_grad_()
    parts = (both[..., ::2], both[..., 1::2]) if interleaved else both.chunk(2, -1)
    one = glu(both, None, activation, interleaved, limit=7.0)
    two = glu(*parts, activation, limit=7.0)
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    grads = _gradients(one, both), _gradients(two, both)
    torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
def test_is_what_gpt_oss_computes(dtype: torch.dtype) -> None:
    inputs = [_both(7, 90, dtype=dtype), _both(7, 90, dtype=dtype)]
    testing.check(SPEC, glu, inputs, parameters={"up": None, **GPT_OSS})


def test_limits_as_gpt_oss_does() -> None:
    both = torch.tensor([[-9.0, 9.0, 9.0, -9.0, 7.0, 7.0, 2.0, -7.0]], device=testing.device())
    both.requires_grad_()
    y = glu(both, **GPT_OSS)
    gate, up = (torch.tensor(t).to(y) for t in ([-9.0, 7.0, 7.0, 2.0], [7.0, -7.0, 7.0, -7.0]))
    torch.testing.assert_close(y[0], (up + 1) * gate * torch.sigmoid(1.702 * gate))
    (grad,) = _gradients(y, both)
    assert (grad[0] == 0).tolist() == [False, True, True, True, False, False, False, False]


def test_without_options_is_a_product_with_silu() -> None:
    gate, up = testing.draw(SPEC, 3, 100, torch.float32)
    torch.testing.assert_close(glu(gate, up), F.silu(gate) * up)


@pytest.mark.parametrize("activation", ["relu", "relu2"])
def test_what_does_not_pass_has_no_gradient(activation: str) -> None:
    gate = torch.tensor([-1.0, 0.0, 9.0, float("nan")], device=testing.device()).requires_grad_()
    up = torch.full_like(gate, float("inf")).requires_grad_()
    dgate, dup = _gradients(glu(gate, up, activation, limit=7.0), gate, up)
    assert not dgate[:3].any()
    assert not dup[:3].any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_comes_out(activation: str) -> None:
    gate, up = testing.draw(SPEC, 2, 8, torch.float32)
    gate[0, 1] = up[1, 2] = float("nan")
    expected = gate.isnan() | up.isnan()
    assert torch.equal(glu(gate, up, activation, limit=1.0).isnan(), expected)
    assert torch.equal(glu(gate, up, activation).isnan(), expected)


@pytest.mark.parametrize("needs", ["gate", "up"])
def test_gives_only_the_gradient_that_is_wanted(needs: str) -> None:
    gate, up = testing.draw(SPEC, 3, 18, torch.float32)
    leaf = (gate if needs == "gate" else up).requires_grad_()
    (alone,) = _gradients(glu(gate, up), leaf)
    (expected,) = _gradients(SPEC.reference(gate, up), leaf)
    torch.testing.assert_close(alone, expected)


def test_changes_nothing_of_its_caller() -> None:
    both = _both(4, 30).requires_grad_()
    dy = _both(4, 15)
    before = both.detach().clone(), dy.clone()
    torch.autograd.grad(glu(both, **GPT_OSS), both, dy)
    torch.testing.assert_close((both.detach(), dy), before, rtol=0, atol=0)


@pytest.mark.parametrize("layout", ["two", "halves", "interleaved"])
@pytest.mark.parametrize("limit", [None, 7.0])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_in_place_is_the_same(activation: str, limit: float | None, layout: str) -> None:
    both = _both(5, 1038, dtype=torch.bfloat16)
    parts = [t.contiguous() for t in both.chunk(2, -1)] if layout == "two" else [both]
    given = parts[0], parts[1] if layout == "two" else None
    options = activation, layout == "interleaved", limit, 1.0, 0.5
    leaves = [t.clone().requires_grad_() for t in parts]
    y = glu(leaves[0], leaves[1] if layout == "two" else None, *options)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    expected = torch.autograd.grad(y, leaves, dy)
    glu_backward_in_place(dy, *given, *options)
    torch.testing.assert_close(dy, y.detach(), rtol=0, atol=0)
    for part, gradient in zip(parts, expected, strict=True):
        torch.testing.assert_close(part, gradient, rtol=0, atol=0)


def test_in_place_is_a_torch_op() -> None:
    gate, up, dy = (_both(3, 6) for _ in range(3))
    in_place = torch.ops.workbench_kernels.glu_backward_in_place
    torch.library.opcheck(in_place, (dy, gate, up, "silu", False, None, 1.0, 0.0))


def test_has_no_second_derivative() -> None:
    both = _both(4, 30).requires_grad_()
    (grad,) = torch.autograd.grad(glu(both).sum(), both, create_graph=True)
    with pytest.raises(NotImplementedError, match="glu has no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize("interleaved", [False, True])
def test_module_is_the_function(interleaved: bool) -> None:
    both = _both(3, 100)
    options = {**GPT_OSS, "interleaved": interleaved}
    torch.testing.assert_close(Glu(**options)(both), glu(both, **options), rtol=0, atol=0)
    given, wanted = Glu("relu2")(both, both), glu(both, both, "relu2")
    torch.testing.assert_close(given, wanted, rtol=0, atol=0)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, glu)


@pytest.mark.parametrize("interleaved", [False, True])
def test_is_a_torch_op_of_one_tensor(interleaved: bool) -> None:
    def call() -> None:
        both = _both(2, 3, 12).requires_grad_()
        _gradients(glu(both, None, "gelu", interleaved), both)

    testing.check_ops("glu", call)


def test_refuses_float64() -> None:
    with pytest.raises(TypeError, match=r"glu: gate is torch\.float64"):
        glu(*testing.draw(SPEC, 2, 8, torch.float64))
    with pytest.raises(TypeError, match=r"glu: gate is torch\.float64"):
        glu(_both(2, 8).double())


def test_refuses_mixed_dtypes() -> None:
    gate, up = testing.draw(SPEC, 2, 8, torch.float32)
    with pytest.raises(TypeError, match=r"up is torch\.bfloat16 but"):
        glu(gate, up.bfloat16())


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, glu)
    gate, up = testing.draw(SPEC, 2, 8, torch.float32)
    for other in (up[:1], up[:, :1], up[0]):
        with pytest.raises(ValueError, match="up has shape"):
            glu(gate, other)


@pytest.mark.parametrize("shape", [(), (7,), (2, 7)], ids=str)
def test_refuses_what_has_no_halves(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="without up its columns must be even"):
        glu(_both(*shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "swish"}, "activation is 'swish', not one of silu, gelu, gelu_tanh"),
        ({"limit": 0.0}, "limit is 0.0; it must be positive"),
        ({"limit": -7.0}, "limit is -7.0; it must be positive"),
        ({"limit": float("nan")}, "limit is nan; it must be positive"),
        ({"activation": "gelu", "alpha": 1.702}, "alpha is 1.702, but gelu has none"),
    ],
)
def test_refuses_what_it_does_not_know(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        glu(_both(2, 8), **options)
    with pytest.raises(ValueError, match=message):
        Glu(**options)


def test_refuses_two_tensors_that_interleave() -> None:
    with pytest.raises(ValueError, match="interleave in one tensor only"):
        glu(_both(2, 8), _both(2, 8), interleaved=True)
