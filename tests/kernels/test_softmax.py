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
    with pytest.raises(TypeError, match=r"softmax: x is torch\.float64"):
        softmax(*testing.draw(SPEC, 2, 8, torch.float64))
