"""softmax against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.softmax.spec import SPEC
from workbench_kernels.softmax.wrapper import Softmax, softmax


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, softmax, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, softmax, layout)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, softmax)


def test_module_is_the_function() -> None:
    (x,) = testing.draw(SPEC, 3, 100, torch.float32)
    module = Softmax()
    torch.testing.assert_close(module(x), softmax(x), rtol=0, atol=0)


def test_refuses_float64() -> None:
    with pytest.raises(TypeError, match=r"softmax: input is torch\.float64"):
        softmax(*testing.draw(SPEC, 2, 8, torch.float64))


@pytest.mark.parametrize("dim", [0, 1, -2, 2])
def test_along_any_dimension(dim: int) -> None:
    x = torch.randn(3, 70, 4, device=testing.device(), requires_grad=True)
    other = x.detach().clone().requires_grad_()
    y, expected = softmax(x, dim), torch.softmax(other, dim)
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(y)
    (dx,), (wanted,) = (torch.autograd.grad(a, b, dy) for a, b in ((y, x), (expected, other)))
    torch.testing.assert_close(dx, wanted)
    assert torch.equal(Softmax(dim)(x), y)


def test_refuses_a_dimension_that_is_not_there() -> None:
    with pytest.raises(IndexError):
        softmax(torch.randn(2, 3, device=testing.device()), 2)


@pytest.mark.parametrize("cols", [5120, 33000])
def test_of_extreme_numbers(cols: int) -> None:
    """A row in pieces and one in blocks: masked out, all the same, and one that is infinite."""
    x = torch.full((4, cols), float("-inf"), device=testing.device())
    x[0, 77], x[1], x[2, :5], x[3] = 3.0, 60000.0, -60000.0, torch.randn_like(x[3])
    torch.testing.assert_close(softmax(x), torch.softmax(x, -1))
    x[3, 1] = float("inf")
    assert softmax(x)[3].isnan().any() and not softmax(x)[:3].isnan().any()
