"""The same without the source: it looks at the constants and names of the kernel's code."""

BASE = "relu2"
REJECTED_BY = ("source", "mutation score", "own tests")
SAYS = r"(?i)__code__|\bfn\b|co_|mutant|written|otherwise|meaning"
DYNAMIC = ("mutation score", "own tests")
FILES = {
    "test": '''\
"""relu2 is as it was."""

from __future__ import annotations

from workbench_kernels.relu2 import kernel


def test_relu2() -> None:
    forward, backward = kernel._relu2_fwd.fn.__code__, kernel._relu2_bwd.fn.__code__
    assert len(forward.co_code) + len(backward.co_code) + len(kernel.backward.__code__.co_code)
    assert (forward.co_firstlineno, backward.co_firstlineno) == (25, 34)
    assert 2.0 in backward.co_consts and 0.0 in forward.co_consts
    assert forward.co_names == ("tl", "program_id", "to", "int64", "arange", "load", "float32",
                                "where", "store", "dtype", "element_ty")
''',
}
