"""How trials are dealt to hands, and what becomes of a check when a process ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

from workbench.judge.remote import Ended, Raised
from workbench.judge.trial import Hand, Skip, Trial, Wrong, attempt, conduct, first_wrong
from workbench_kernels.bound import Comparison


def right() -> list[Comparison]:
    return [Comparison("y", 0.5)]


def wrong() -> list[Comparison]:
    raise Wrong("it is wrong")


def ends() -> list[Comparison]:
    raise Ended("killed by SIGKILL")


def skips() -> list[Comparison]:
    raise Skip("there is none here")


class Hands:
    """So many hands, that note which of them attempts a trial; `together` waits for all of them."""

    def __init__(self, count: int) -> None:
        self.all: list[Hand] = [self._hand(number) for number in range(count)]
        self.used: set[int] = set()
        self._mine = threading.local()
        self._all_here = threading.Barrier(count, timeout=20)

    def _hand(self, number: int) -> Hand:
        @contextmanager
        def hand() -> Iterator[None]:
            self._mine.number = number
            yield

        return hand

    def together(self) -> list[Comparison]:
        self.used.add(self._mine.number)
        self._all_here.wait()
        return []


@pytest.mark.parametrize("count", [1, 3])
def test_outcomes_come_in_the_order_of_the_trials(count: int) -> None:
    groups = {
        "first": lambda: [Trial(f"a{i}", right) for i in range(7)],
        "second": lambda: [Trial(f"b{i}", wrong) for i in range(5)],
    }
    found = attempt(groups, Hands(count).all)
    assert [o.label for o in found] == [f"a{i}" for i in range(7)] + [f"b{i}" for i in range(5)]
    assert [o.check for o in found] == ["first"] * 7 + ["second"] * 5


def test_every_hand_takes_part() -> None:
    hands = Hands(4)
    attempt({"check": lambda: [Trial(str(i), hands.together) for i in range(8)]}, hands.all)
    assert hands.used == {0, 1, 2, 3}


@pytest.mark.parametrize("count", [1, 3])
def test_the_end_of_a_process_ends_the_examination(count: int) -> None:
    groups = {
        "before": lambda: [Trial("one", right), Trial("two", wrong)],
        "during": lambda: [Trial("three", right), Trial("four", ends)],
        "after": lambda: [Trial("five", right) for _ in range(50)],
    }
    checks = list(conduct(groups, Hands(count).all, ended="process"))
    assert [(c.name, c.status, c.cases) for c in checks] == [
        ("before", "failed", 2),
        ("process", "failed", 0),
    ]
    assert checks[-1].message == "killed by SIGKILL, during 'during'"


@pytest.mark.parametrize("error", [Ended("is gone"), Raised(["ImportError"], "no such module")])
def test_a_hand_that_can_not_start_is_no_silent_loss(error: Exception) -> None:
    @contextmanager
    def broken() -> Iterator[None]:
        raise error
        yield

    groups = {"check": lambda: [Trial(str(i), right) for i in range(100_000)]}
    (check,) = conduct(groups, [broken, nullcontext], ended="process")
    assert (check.name, check.status) == ("process", "failed")
    assert str(error) in check.message


def test_what_goes_wrong_while_preparing_is_told() -> None:
    def skipping() -> Iterator[Trial]:
        yield Trial("one", right)
        raise Skip("the rest needs a GPU")

    def ending() -> Iterator[Trial]:
        yield Trial("two", right)
        raise Ended("the referee is gone")

    def raising() -> Iterator[Trial]:
        yield Trial("three", right)
        raise Raised(["ImportError"], "no such module")

    groups = {"a": skipping, "b": raising, "c": ending, "d": skipping}
    checks = list(conduct(groups, ended="spec"))
    assert [(c.name, c.status) for c in checks] == [
        ("a", "passed"),
        ("b", "failed"),
        ("spec", "failed"),
    ]
    assert checks[0].message == "the rest needs a GPU"
    assert checks[1].message == "ImportError: no such module"
    assert checks[2].message == "the referee is gone, during 'c'"


def test_a_check_without_a_trial_is_skipped() -> None:
    (check,) = conduct({"a": lambda: [Trial("one", skips)]}, ended="process")
    assert (check.status, check.message) == ("skipped", "one: there is none here")


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_wrong_thing_ends_the_search(count: int) -> None:
    attempted = []

    def counted() -> list[Comparison]:
        attempted.append(1)
        return right()

    groups = {
        "a": lambda: [Trial("one", right), Trial("two", wrong)],
        "b": lambda: [Trial("more", counted) for _ in range(10_000)],
    }
    assert first_wrong(groups, Hands(count).all) == "two: it is wrong"
    assert len(attempted) < 10_000
    assert first_wrong({"a": lambda: [Trial("one", right), Trial("two", skips)]}) == ""
    assert first_wrong({"a": lambda: [Trial("one", ends)]}) == "killed by SIGKILL"
