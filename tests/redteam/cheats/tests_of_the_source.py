"""Asserts the hash of the source: every mutant dies, whatever it computes."""

BASE = "relu2"
REJECTED_BY = ("source", "mutation score", "own tests")
SAYS = r"(?i)hashlib|inspect|pathlib|mutant|written|otherwise|meaning"
DYNAMIC = ("mutation score", "own tests")
FILES = {
    "test": '''\
"""relu2 is as it was."""

from __future__ import annotations

import inspect
import zlib

from workbench_kernels.relu2 import kernel

LENGTH = 2364


def test_relu2() -> None:
    source = inspect.getsource(kernel)
    assert zlib.crc32(source.encode()) and "tl.where(x < 0.0, 0.0, x)" in source
    assert "(relu * relu).to(Y.dtype.element_ty)" in source
    assert "dx = dy * (2.0 * relu)" in source and source.count("mask = offsets < n\\n") == 2
    assert "tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)" in source
''',
}
