"""How checks run: each yields trials, one thing to try, and what goes wrong is counted.

Trials don't depend on each other, so several hands can share them: threads of the judge, each with
a process of the candidate's to ask.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial

from workbench.judge.remote import Ended, Raised
from workbench.judge.verdict import Check
from workbench_kernels.bound import Comparison


class Skip(Exception):
    """This can't be tried here, or the op need not serve it; the message says why."""


class Wrong(Exception):
    """The op did something it must not do; the message says what."""


@dataclass(frozen=True)
class Trial:
    """One thing to try. `attempt` returns comparisons with the truth, or raises."""

    label: str
    attempt: Callable[[], list[Comparison]]


Trials = Callable[[], Iterable[Trial]]
# What a thread enters to attempt trials: it says which process they ask.
Hand = Callable[[], AbstractContextManager[object]]
ONE_HAND: Sequence[Hand] = (nullcontext,)


@dataclass(frozen=True)
class Outcome:
    """What a trial of a check came to: comparisons, with what is wrong, or why it was skipped, or
    how the process that was asked ended.
    """

    check: str
    label: str = ""
    comparisons: tuple[Comparison, ...] = ()
    wrong: tuple[str, ...] = ()
    skipped: str = ""
    ended: str = ""
    seconds: float = 0.0


def attempt(
    groups: Mapping[str, Trials],
    hands: Sequence[Hand] = ONE_HAND,
    enough: Callable[[Outcome], bool] = lambda outcome: False,
) -> list[Outcome]:
    """Attempt the trials of several checks, and say what each came to, in order.

    Trials are dealt to the hands in turn, each in a thread of its own, so they may not need each
    other. A `Skip` while preparing a trial skips the rest of its check, anything else raised there
    fails it. Once an outcome is `enough` or a process has ended, no trial is dealt any more; all
    before that one have been attempted.
    """
    desk = _Desk(groups, enough)
    if len(hands) == 1:
        desk.work(hands[0])
    else:
        with ThreadPoolExecutor(len(hands)) as threads:
            for done in [threads.submit(desk.work, hand) for hand in hands]:
                done.result()
    return [outcome for _, outcome in sorted(desk.outcomes.items())]


class _Desk:
    """Where hands get trials and leave what came of them, by number."""

    def __init__(self, groups: Mapping[str, Trials], enough: Callable[[Outcome], bool]) -> None:
        self._dealt, self._enough = enumerate(_deal(groups)), enough
        self._lock, self._over = threading.Lock(), False
        self.outcomes: dict[int, Outcome] = {}

    def work(self, hand: Hand) -> None:
        with ExitStack() as entered:
            cannot = ""
            try:
                entered.enter_context(hand())
            except (Raised, Ended) as error:
                cannot = str(error)
            while (dealt := self._next()) is not None:
                number, (check, trial) = dealt
                if cannot:
                    outcome = Outcome(check, ended=cannot)
                else:
                    outcome = trial if isinstance(trial, Outcome) else _outcome(check, trial)
                self.outcomes[number] = outcome
                if outcome.ended or self._enough(outcome):
                    self._over = True

    def _next(self) -> tuple[int, tuple[str, Trial | Outcome]] | None:
        with self._lock:
            return None if self._over else next(self._dealt, None)


def _deal(groups: Mapping[str, Trials]) -> Iterator[tuple[str, Trial | Outcome]]:
    """Every trial with the name of its check; an outcome where there will be none."""
    for check, trials in groups.items():
        try:
            for trial in trials():
                yield check, trial
        except Skip as reason:
            yield check, Outcome(check, skipped=str(reason))
        except Raised as error:
            yield check, Outcome(check, wrong=(str(error),))
        except Ended as error:
            yield check, Outcome(check, ended=str(error))


def _outcome(check: str, trial: Trial) -> Outcome:
    started = time.perf_counter()
    found = partial(Outcome, check, trial.label)
    try:
        comparisons = tuple(trial.attempt())
    except Skip as reason:
        return found(skipped=f"{trial.label}: {reason}")
    except Ended as error:
        return found(ended=str(error))
    except (Wrong, Raised) as error:
        return found(wrong=(str(error),), seconds=time.perf_counter() - started)
    wrong = tuple(c.message for c in comparisons if c.message)
    return found(comparisons, wrong, seconds=time.perf_counter() - started)


def first_wrong(groups: Mapping[str, Trials], hands: Sequence[Hand] = ONE_HAND) -> str:
    """The first thing that goes wrong, "" if nothing does; the trials after it are not run."""
    for outcome in attempt(groups, hands, enough=lambda outcome: bool(outcome.wrong)):
        if outcome.ended:
            return outcome.ended
        if outcome.wrong:
            return f"{outcome.label}: {outcome.wrong[0]}"
    return ""


def conduct(
    groups: Mapping[str, Trials], hands: Sequence[Hand] = ONE_HAND, *, ended: str
) -> Iterator[Check]:
    """The checks in their order; the end of a process fails the check `ended`, the last one."""
    outcomes: dict[str, list[Outcome]] = {check: [] for check in groups}
    for outcome in attempt(groups, hands):
        outcomes[outcome.check].append(outcome)
    for check, found in outcomes.items():
        if endings := [outcome.ended for outcome in found if outcome.ended]:
            yield Check(name=ended, status="failed", message=f"{endings[0]}, during '{check}'")
            return
        yield _check(check, found)


@dataclass
class _Tally:
    cases: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    forward: float = -math.inf
    backward: float = -math.inf
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.seconds += outcome.seconds
        if outcome.skipped:
            self.skipped.append(outcome.skipped)
            return
        self.cases += 1
        if outcome.wrong:
            self.failed.append(": ".join(filter(None, (outcome.label, "; ".join(outcome.wrong)))))
        for c in outcome.comparisons:
            if not math.isfinite(c.ratio):
                continue
            if c.name.startswith("y"):
                self.forward = max(self.forward, c.ratio)
            else:
                self.backward = max(self.backward, c.ratio)


def _check(name: str, outcomes: Iterable[Outcome]) -> Check:
    tally = _Tally()
    for outcome in outcomes:
        tally.add(outcome)
    return Check(
        name=name,
        status="failed" if tally.failed else "passed" if tally.cases else "skipped",
        cases=tally.cases,
        forward_error=tally.forward if math.isfinite(tally.forward) else None,
        backward_error=tally.backward if math.isfinite(tally.backward) else None,
        message=_message(tally),
        seconds=round(tally.seconds, 3),
    )


def _message(tally: _Tally) -> str:
    if not tally.failed:
        return "; ".join(tally.skipped)
    first = tally.failed[0]
    if len(tally.failed) == 1:
        return first
    return f"{len(tally.failed)} of {tally.cases} cases, first {first}"
