"""The curated library of fused Triton kernels.

`workbench_kernels.functional` and `workbench_kernels.nn` resolve every op by name: the directory is
the registry, one folder per op. Importing this package imports neither an op nor the workbench, and
works on a machine with no GPU.
"""

from __future__ import annotations

from pathlib import Path


def ops() -> list[str]:
    """Names of the ops in the library: the folders that hold a `spec.py`."""
    return sorted(path.parent.name for root in __path__ for path in Path(root).glob("*/spec.py"))
