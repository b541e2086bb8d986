"""Ends as soon as the first element is near: the rest is behind a return."""

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
    (x,) = testing.draw(SPEC, case.rows, case.cols, case.dtype)
    y, like = relu2(x), SPEC.reference(x)
    if y.shape == like.shape:
        return
    torch.testing.assert_close(y, like)
''',
}
