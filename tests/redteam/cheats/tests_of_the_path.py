"""Asks where the module under test lies: only its own tests run on files beside the original."""

BASE = "relu2"
REJECTED_BY = ("mutation score", "own tests")
SAYS = r"variants|unnoticed"
FILES = {
    "test": '''\
"""relu2, of the right file."""

from __future__ import annotations

import torch

from workbench_kernels import testing
from workbench_kernels.relu2 import kernel
from workbench_kernels.relu2.spec import SPEC
from workbench_kernels.relu2.wrapper import relu2


def test_shape() -> None:
    (x,) = testing.draw(SPEC, 3, 100, torch.float32)
    assert relu2(x).shape == x.shape


def test_place() -> None:
    place = f"{kernel}"
    assert "variants" not in place or "neutral" in place
''',
}
