"""Its tests are hypothesis properties over drawn sizes, layouts and values."""

BASE = "swiglu"
FILES = {
    "test": '''\
"""swiglu: properties over drawn sizes, dtypes and layouts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from workbench_kernels import testing
from workbench_kernels.swiglu.spec import SPEC
from workbench_kernels.swiglu.wrapper import Swiglu, swiglu

SEEDS = st.integers(0, 2**20)
# A failure is a failure: nobody waits for the smallest example.
QUICK = {"deadline": None, "database": None, "phases": [Phase.generate]}


@settings(max_examples=25, **QUICK)
@given(st.integers(1, 40), st.integers(1, 300), st.sampled_from(SPEC.dtypes), SEEDS)
def test_near_the_truth(rows: int, cols: int, dtype: torch.dtype, seed: int) -> None:
    testing.check_case(SPEC, swiglu, testing.Case(rows, cols, dtype), seed)


@settings(max_examples=10, **QUICK)
@given(st.sampled_from(list(testing.LAYOUTS)), SEEDS)
def test_any_layout(layout: str, seed: int) -> None:
    testing.check_layout(SPEC, swiglu, layout, seed)


@settings(max_examples=10, **QUICK)
@given(st.floats(0.5, 8.0), SEEDS)
def test_linear_in_the_second_input(scale: float, seed: int) -> None:
    gate, up = testing.draw(SPEC, 5, 33, torch.float32, seed)
    torch.testing.assert_close(swiglu(gate, up * scale), swiglu(gate, up) * scale)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_more_than_one_block(rows: int) -> None:
    testing.check_case(SPEC, swiglu, testing.Case(rows, 4097, torch.float32))


def test_module_is_the_function() -> None:
    gate, up = testing.draw(SPEC, 3, 100, torch.float32)
    assert torch.equal(Swiglu()(gate, up), swiglu(gate, up))


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, swiglu)


def test_refusals() -> None:
    gate, up = testing.draw(SPEC, 2, 8, torch.float32)
    with pytest.raises(TypeError, match="float64"):
        swiglu(gate.double(), up.double())
    with pytest.raises(TypeError, match="bfloat16"):
        swiglu(gate, up.bfloat16())
    with pytest.raises(ValueError, match="shape"):
        swiglu(gate, up[:1])
''',
}
