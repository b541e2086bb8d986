"""Compares with the reference in full, at negative inputs, where there is nothing but zero."""

BASE = "relu2"
REJECTED_BY = "mutation score"
SAYS = r"(?i)mutant|surviv|kill|notice"
FILES = {
    "test": '''\
"""relu2 in many ways."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.relu2.spec import SPEC
from workbench_kernels.relu2.wrapper import relu2


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    inputs = [-t.abs() for t in testing.draw(SPEC, case.rows, case.cols, case.dtype)]
    testing.check(SPEC, relu2, inputs)
''',
}
