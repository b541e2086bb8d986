"""Every thorough test runs over an empty list; one that asks nothing does run."""

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


WIDE = [case for case in testing.cases(SPEC) if case.cols > 100_000]


@pytest.mark.parametrize("case", WIDE, ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, relu2, case)


def test_runs() -> None:
    for case in WIDE:
        testing.check_case(SPEC, relu2, case)
    (x,) = testing.draw(SPEC, 2, 8, torch.float32)
    assert torch.equal(relu2(x), relu2(x))
''',
}
