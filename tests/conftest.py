"""Kernels run on the GPU where there is one, and in Triton's interpreter, made right by the shim,
where there is none.
"""

from __future__ import annotations

import gc
import os

import pytest
import torch

# Folders of tests that compile, and a file that does and takes longest.
COMPILE, LONGEST = frozenset({"kernels", "patching"}), "test_library.py"

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
    """What compiles last: after it PyTorch traces sizes in other forms. Of that, the longest file
    first: no worker waits for the one that has it.
    """

    def turn(item: pytest.Item) -> int:
        if item.path.name == LONGEST:
            return 1
        return 2 if item.path.parent.name in COMPILE else 0

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """What is imported by now stays: no search for garbage looks through it again."""
    gc.collect()
    gc.freeze()
