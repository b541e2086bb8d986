"""A suite of one test, which asserts True."""

BASE = "relu2"
REJECTED_BY = "mutation score"
SAYS = r"(?i)mutant|surviv|kill|notice"
FILES = {
    "test": '''\
"""relu2, tested."""

from __future__ import annotations

from workbench_kernels.relu2.wrapper import relu2


def test_relu2() -> None:
    assert callable(relu2)
''',
}
