"""A few rows over and over: sizes too large to have a truth of their own.

The truth of the few is that of the last rows of all. Sums over all rows have another, and are left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from workbench_kernels.truth import Expected


def times(rows: int, few: int) -> Callable[[Tensor], int]:
    """How often a tensor that was drawn for `few` rows is repeated until there are `rows`."""
    return lambda t: rows // few if t.ndim and t.shape[0] == few else 1


def last_rows(expected: Expected, few: int) -> Expected:
    """What is expected of the last rows."""
    kept = [n for n, t in expected.eager.items() if t.ndim and t.shape[0] == few]
    eager, truth = ({n: of[n] for n in kept} for of in (expected.eager, expected.truth))
    return replace(expected, eager=eager, truth=truth)
