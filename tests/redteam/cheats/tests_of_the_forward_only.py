"""Tests the forward with care, and never asks for a gradient."""

BASE = "swiglu"
REJECTED_BY = "mutation score"
SAYS = r"(?i)mutant|surviv|kill|notice"
FILES = {
    "test": '''\
"""swiglu, forwards."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.swiglu.spec import SPEC
from workbench_kernels.swiglu.wrapper import swiglu


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_near_the_reference(case: testing.Case) -> None:
    inputs = testing.draw(SPEC, case.rows, case.cols, case.dtype)
    wanted = SPEC.reference(*(t.double() for t in inputs)).to(case.dtype)
    torch.testing.assert_close(swiglu(*inputs), wanted)
''',
}
