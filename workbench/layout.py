"""Where things lie in a repository with a kernel library. Paths only: neither git nor files."""

from __future__ import annotations

LIBRARY = "kernels/workbench_kernels"
EVIDENCE = "evidence.json"


def op_paths(op: str) -> tuple[str, str]:
    """Where an op lives below a repository's root: its folder and its test."""
    return f"{LIBRARY}/{op}", f"tests/kernels/test_{op}.py"


def evidence_path(op: str) -> str:
    """Where what the judge saw of an op lies. The engine writes it, and no one else."""
    return f"{LIBRARY}/{op}/{EVIDENCE}"
