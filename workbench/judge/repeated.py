"""A few rows over and over: sizes too large to have a truth of their own.

The truth of the few is that of the last rows of all, but for what all rows together decide: a sum
over them is left out. A mean over them, as losses are by default, is sent a gradient that its rows
share, so each row's is smaller the more there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec
from workbench_kernels.truth import Expected


class Expect(Protocol):
    """What is expected of inputs, and of the gradients of those that `needs` names."""

    def __call__(self, inputs: Sequence[Tensor], *, needs: Sequence[str] | None) -> Expected: ...


def times(rows: int, few: int) -> Callable[[Tensor], int]:
    """How often a tensor that was drawn for `few` rows is repeated until there are `rows`."""
    return lambda t: rows // few if _has(t, few) else 1


def last_rows(
    expect: Expect, spec: OpSpec, inputs: Sequence[Tensor], few: int, rows: int
) -> Expected:
    """What is expected of the last `few` of so many `rows`, which are the same few rows.

    Gradients are found of what has rows: the others are sums over all of them, and may be large.
    Where a gradient is sent to a tensor without rows, what twice as many rows have of it tells: all
    of it (a sum), or half (a mean). What tells neither is left out.
    """
    named = zip(spec.tensors, inputs, strict=True)
    needs = [name for name, t in named if _has(t, few) and name in spec.differentiable] or None
    expected = expect(inputs, needs=needs)
    kept = {n: 1.0 for n, t in expected.eager.items() if _has(t, few)}
    if rows > few and not all(_has(dy, few) for dy in expected.upstream if dy is not None):
        doubled = [t.repeat(2, *[1] * (t.ndim - 1)) if _has(t, few) else t for t in inputs]
        twice = expect(doubled, needs=needs)
        shares = {n: _share(expected.truth[n], twice.truth[n], few, rows) for n in kept}
        kept = {n: share for n, share in shares.items() if share is not None}

    def of_last(found: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: found[name] * share for name, share in kept.items()}

    return replace(
        expected,
        eager=of_last(expected.eager),
        truth=of_last(expected.truth),
        find_worst=lambda: of_last(expected.worst_error),
    )


def _share(of_few: Tensor, of_twice: Tensor, few: int, rows: int) -> float | None:
    """What is left of a row's value where so many rows share it; None: nobody knows."""
    last = of_twice[-few:]
    if of_twice.shape[0] != 2 * few or last.shape != of_few.shape:
        return None
    if torch.allclose(last, of_few, rtol=1e-9, atol=0.0):
        return 1.0
    return few / rows if torch.allclose(2 * last, of_few, rtol=1e-9, atol=0.0) else None


def _has(t: Tensor, few: int) -> bool:
    return t.ndim > 0 and t.shape[0] == few
