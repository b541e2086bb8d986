"""How several attempts at one op rank, by made-up evidence."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from measured import SIZES, measurement, static_report

from workbench.bench.contest import Direction, Rounds
from workbench.bench.measurement import OURS, Measurement, Point
from workbench.judge.verdict import Check, MutantResult, Verdict
from workbench.runs import State
from workbench.runs.ranking import Attempt, rank


def verdict(error: float = 0.9, survived: int = 0, **more: Any) -> Verdict:
    fates = ["survived"] * survived + ["killed"] * (20 - survived)
    return Verdict(
        op="op",
        seed=1,
        device="cpu",
        dtypes=("float32",),
        checks=(Check(name="forward", status="passed", cases=3, forward_error=error),),
        mutants=[MutantResult(name=f"{n}", description="", fate=f) for n, f in enumerate(fates)],  # type: ignore[arg-type]
        **more,
    )


def compiled(**usage: int) -> Any:
    report = static_report()
    kernels = tuple(kernel.model_copy(update=usage) for kernel in report.kernels)
    return report.model_copy(update={"kernels": kernels, "failures": ()})


def timed(factor: float = 1.0, device: str = "a GPU", sizes: Any = SIZES[2:4]) -> Measurement:
    """So many times the made-up times, beside no peer."""
    found = measurement(sizes)
    points = tuple(_slower(point, factor) for point in found.points)
    return found.model_copy(update={"device": device, "points": points})


def _slower(point: Point, factor: float) -> Point:
    ours = point.results[0]
    assert ours.contender == OURS
    rounds: dict[Direction, Rounds] = {
        way: [[factor * seconds for seconds in one] for one in found]
        for way, found in ours.rounds.items()
    }
    slowed = ours.model_copy(update={"rounds": rounds})
    slowed.__dict__.pop("times", None)  # what was kept of the other times
    return point.model_copy(update={"results": (slowed,)})


def attempt(number: int, state: State = State.REVIEW, **known: Any) -> Attempt:
    return Attempt(
        run=f"op-{number}",
        number=number,
        state=state,
        **{"content": f"files of {number}", "verdict": verdict(), "report": compiled()} | known,
    )


def order(*attempts: Attempt) -> list[int]:
    """The ranks, which are the same in whatever order the attempts are given."""
    found = [[a.number for a in rank(given).attempts] for given in itertools.permutations(attempts)]
    assert all(one == found[0] for one in found)
    return found[0]


def test_those_that_passed_come_before_those_that_did_not() -> None:
    failing = verdict().model_copy(update={"checks": (Check(name="forward", status="failed"),)})
    attempts = [
        attempt(1, State.FAILED, verdict=None, report=None),
        attempt(2, State.PARKED, verdict=None, report=None),
        attempt(3, report=compiled(spill_bytes=4000)),
        attempt(4, verdict=failing),
        attempt(5, State.OPEN),
        attempt(6, State.ABORTED),
    ]
    assert order(*attempts[:4]) == [3, 4, 2, 1]
    found = rank(attempts)
    assert found.first is not None and found.first.run == "op-3"
    assert found.why == "op-3 is first: no other reached the review"
    assert rank(attempts[:2]).first is None
    assert rank(attempts[:2]).why == "none reached the review"


def test_on_a_gpu_the_time_ranks_before_all_else() -> None:
    fast = attempt(2, measurement=timed(0.9), report=None, verdict=verdict(1.9))
    slow = attempt(1, measurement=timed(), report=None, verdict=verdict(0.1))
    assert order(slow, fast) == [2, 1]
    assert rank([slow, fast]).why.startswith("op-2 is first: nearer to the floor over all sizes, ")


def test_times_that_are_within_the_noise_do_not_rank() -> None:
    """Nor may a chain of them: each is held against the best of those that are left."""
    one = attempt(1, measurement=timed(1.02), verdict=verdict(0.5))
    two = attempt(2, measurement=timed(1.0), verdict=verdict(0.9))
    three = attempt(3, measurement=timed(1.04), verdict=verdict(0.1))
    assert order(one, two, three) == [1, 2, 3]
    assert "a smaller error" in rank([one, two, three]).why


@pytest.mark.parametrize(
    "other",
    [None, timed(0.5, device="another GPU"), timed(0.5, sizes=SIZES[3:5])],
    ids=["not timed", "another GPU", "other sizes"],
)
def test_times_that_were_not_taken_alike_do_not_rank(other: Measurement | None) -> None:
    first = attempt(1, measurement=timed(), verdict=verdict(0.5))
    assert order(first, attempt(2, measurement=other, verdict=verdict(0.9))) == [1, 2]


def test_no_time_is_claimed_where_none_was_measured() -> None:
    found = rank([attempt(1), attempt(2)])
    assert not found.timed and rank([attempt(1, measurement=timed())]).timed
    names = [criterion.name for criterion in found.criteria]
    assert names == ["spilled", "error", "narrow", "registers", "unnoticed"]


@pytest.mark.parametrize(
    ("better", "worse", "says"),
    [
        (
            {"report": compiled(spill_bytes=0, registers=250)},
            {"report": compiled(spill_bytes=8, registers=20), "verdict": verdict(0.1)},
            "fewer bytes spilled, 0 against 8 of op-1",
        ),
        (
            {"verdict": verdict(0.7), "report": compiled(registers=250)},
            {"verdict": verdict(0.82)},
            "a smaller error over eager's, 0.7x against 0.9x of op-1",
        ),
        (
            {"report": compiled(wide_loads=4, wide_stores=2, registers=250)},
            {"report": compiled(wide_loads=1, wide_stores=2)},
            "fewer accesses under 16 bytes, 0 % against 50 % of op-1",
        ),
        (
            {"report": compiled(registers=31), "verdict": verdict(0.88, survived=2)},
            {"report": compiled(registers=32), "verdict": verdict(0.81)},
            "fewer registers, 31 against 32 of op-1",
        ),
        (
            {"verdict": verdict(survived=0)},
            {"verdict": verdict(survived=2)},
            "fewer mutants its tests miss, 0 % against 10 % of op-1",
        ),
    ],
)
def test_without_a_gpu_the_compiler_and_the_judge_rank(
    better: dict[str, Any], worse: dict[str, Any], says: str
) -> None:
    attempts = [attempt(1, **worse), attempt(2, **better)]
    assert order(*attempts) == [2, 1]
    assert rank(attempts).why == f"op-2 is first: {says}"


def test_what_is_not_known_of_all_counts_for_none() -> None:
    assert order(attempt(1, report=None), attempt(2, report=compiled(registers=1))) == [1, 2]
    elsewhere = compiled(registers=1).model_copy(update={"triton": "9.9"})
    assert order(attempt(1), attempt(2, report=elsewhere)) == [1, 2]
    on_gpu = verdict(0.1).model_copy(update={"device": "a GPU"})
    assert order(attempt(1), attempt(2, verdict=on_gpu)) == [1, 2]


def test_of_equals_the_one_that_began_first_is_first() -> None:
    assert order(attempt(3), attempt(1), attempt(2)) == [1, 2, 3]
    assert rank([attempt(2), attempt(1)]).why == (
        "op-1 is first: op-2 is alike in all that counts, and began after it"
    )
    same = rank([attempt(1, content="x"), attempt(2, content="x")])
    assert same.why == "op-1 is first: op-2 has the very same files"
    worst = verdict(float("inf"))
    assert order(attempt(1, verdict=worst), attempt(2, verdict=worst)) == [1, 2]


def test_a_persons_decision_changes_no_rank() -> None:
    worse = attempt(1, State.COMMITTED, report=compiled(registers=99))
    assert order(worse, attempt(2)) == [2, 1]
    assert order(attempt(1, State.REJECTED), attempt(2, report=compiled(registers=99))) == [2, 1]
