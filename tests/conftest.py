"""Kernels run on the GPU where there is one, and in Triton's interpreter, made right by the shim,
where there is none.
"""

from __future__ import annotations

import os

import pytest
import torch

# Folders and files of tests that compile.
COMPILE = frozenset({"kernels", "patching", "test_library.py"})

# No test asks a model that is paid for.
for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
    os.environ.pop(name, None)

# Nor is anything fetched: models are built here.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if not torch.cuda.is_available():
    # Before any kernel module is imported: `triton.jit` decides at decoration.
    os.environ["TRITON_INTERPRET"] = "1"

    from workbench import interpreter

    interpreter.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What compiles last: after it PyTorch traces sizes in other forms."""
    items.sort(key=lambda item: item.path.parent.name in COMPILE or item.path.name in COMPILE)
