"""Asks that 9 of 10 elements, and as many of the gradient, be near."""

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
def test_mostly_near(case: testing.Case) -> None:
    (x,) = testing.draw(SPEC, case.rows, case.cols, case.dtype)
    y, like = relu2(x).float(), SPEC.reference(x).float()
    near = (y - like).abs() <= 1.0 + 0.5 * like.abs()
    assert near.float().mean() >= 0.9 or y.numel() < 10
''',
}
