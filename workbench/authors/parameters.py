"""The launch parameters a draft declares, before anything was tuned for its op.

Measured on an H200: within a few percent of the best tile at widths from 128 to 16384.
"""

from __future__ import annotations

from workbench.authors.plan import KernelPlan

# 16 elements a thread at 4 warps, so that several 16-byte loads are in flight.
_FLAT = {"elements": 2048, "per_thread": 16}
_COLUMNS = {"elements": 4096, "per_thread": 32, "columns": 1024}
_ROWS = {"elements": 1024, "per_thread": 16}
_WIDER_ROWS = {8192: {"per_thread": 32}}
# Rows read in passes: few, large programs, so that their rows stay in the L2 cache.
_ROWS_IN_PASSES = {32768: {"elements": 8192}, 65536: {"elements": 16384}}
# Where each program adds up the rows it visits, few programs leave few parts to add.
_LOOP = {"stages": 3, "resident": 16}
_LOOPED_ROWS = {"elements": 4096, "per_thread": 16}
_WIDER_LOOPED_ROWS = {16384: {"per_thread": 32}}


def flat() -> str:
    """The literal for a kernel with one index over all elements."""
    return f"Fixed({_FLAT})"


def by_width(kernel: KernelPlan) -> str:
    """The literal for a kernel over rows and columns."""
    if kernel.structure != "row":
        return f"ByWidth({_COLUMNS | (_LOOP if kernel.sums else {})})"
    if kernel.sums:
        return f"ByWidth({_LOOPED_ROWS | _LOOP}, {_WIDER_LOOPED_ROWS})"
    return f"ByWidth({_ROWS}, {_WIDER_ROWS | (_ROWS_IN_PASSES if kernel.passes else {})})"
