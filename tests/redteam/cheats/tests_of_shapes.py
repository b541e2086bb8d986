"""Looks at shapes, dtypes and finiteness, of every case and both directions."""

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
def test_looks_like_the_reference(case: testing.Case) -> None:
    (x,) = testing.draw(SPEC, case.rows, case.cols, case.dtype)
    x.requires_grad_()
    y, like = relu2(x), SPEC.reference(x)
    assert (y.shape, y.dtype) == (like.shape, like.dtype)
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.shape == x.shape and dx.isfinite().all()
''',
}
