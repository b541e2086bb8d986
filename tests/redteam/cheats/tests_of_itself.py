"""Compares the op with itself, in many shapes."""

BASE = "relu2"
REJECTED_BY = "mutation score"
SAYS = r"(?i)mutant|surviv|kill|notice"
FILES = {
    "test": '''\
"""relu2 in many shapes."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.relu2.spec import SPEC
from workbench_kernels.relu2.wrapper import Relu2, relu2


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_equals_the_module(case: testing.Case) -> None:
    (x,) = testing.draw(SPEC, case.rows, case.cols, case.dtype)
    assert torch.equal(Relu2()(x), relu2(x))
''',
}
