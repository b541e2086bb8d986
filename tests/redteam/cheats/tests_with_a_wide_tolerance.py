"""Compares with the reference within 100."""

BASE = "relu2"
REJECTED_BY = "mutation score"
SAYS = r"(?i)mutant|surviv|kill|notice"
FILES = {
    "test": '''\
"""relu2 against its reference."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.relu2.spec import SPEC
from workbench_kernels.relu2.wrapper import relu2


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_near_the_reference(case: testing.Case) -> None:
    (x,) = testing.draw(SPEC, case.rows, case.cols, case.dtype)
    x.requires_grad_()
    y, like = relu2(x), SPEC.reference(x)
    torch.testing.assert_close(y, like, rtol=1.0, atol=100.0)
    (dx,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(dx, torch.autograd.grad(like.sum(), x)[0], rtol=1.0, atol=100.0)
''',
}
