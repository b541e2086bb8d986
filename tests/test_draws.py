"""A narrow miss is tried with other values, and anything worse is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workbench.judge.draws import NARROW, by_several_draws
from workbench.judge.trial import Trial, Trials, conduct
from workbench_kernels.bound import FACTOR, Comparison

RIGHT, NARROWLY, WRONG = 0.5 * FACTOR, NARROW, 1.01 * NARROW


def status(ratios: dict[int, float]) -> tuple[str, list[int]]:
    """What becomes of a check whose second trial has these ratios by draw, and the draws tried."""
    tried = []

    def checks(draw: int) -> dict[str, Trials]:
        def attempt() -> list[Comparison]:
            tried.append(draw)
            ratio = ratios[draw]
            return [Comparison("y", ratio, "too far" if ratio > FACTOR else "")]

        def trials() -> Iterator[Trial]:
            yield Trial("another", list)
            yield Trial("this", attempt)

        return {"forward": trials}

    (check,) = conduct(by_several_draws(checks), ended="process")
    assert check.cases == 2
    return check.status, tried


@pytest.mark.parametrize(
    ("ratios", "expected", "draws"),
    [
        ({0: RIGHT}, "passed", [0]),
        ({0: NARROWLY, 1: RIGHT, 2: RIGHT}, "passed", [0, 1, 2]),
        ({0: NARROWLY, 1: RIGHT, 2: NARROWLY}, "failed", [0, 1, 2]),
        ({0: NARROWLY, 1: WRONG, 2: RIGHT}, "failed", [0, 1, 2]),
        ({0: WRONG}, "failed", [0]),
        ({0: float("inf")}, "failed", [0]),
    ],
)
def test_only_a_narrow_miss_is_tried_again(
    ratios: dict[int, float], expected: str, draws: list[int]
) -> None:
    assert status(ratios) == (expected, draws)
