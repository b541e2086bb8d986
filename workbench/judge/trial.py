"""How a check runs: it yields trials, each one thing to try, and what goes wrong is counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from workbench.judge.remote import Raised
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


@dataclass(frozen=True)
class Outcome:
    """What a trial came to: comparisons, with what is wrong, or why it was skipped."""

    label: str
    comparisons: tuple[Comparison, ...] = ()
    wrong: tuple[str, ...] = ()
    skipped: str = ""


def outcomes(trials: Callable[[], Iterable[Trial]]) -> Iterator[Outcome]:
    """Run the trials one by one; a `Skip` while preparing one skips the rest.

    Raises:
        Ended: the process that was asked is gone.
    """
    try:
        for trial in trials():
            yield _outcome(trial)
    except Skip as reason:
        yield Outcome("", skipped=str(reason))


def _outcome(trial: Trial) -> Outcome:
    try:
        comparisons = tuple(trial.attempt())
    except Skip as reason:
        return Outcome(trial.label, skipped=f"{trial.label}: {reason}")
    except (Wrong, Raised) as error:
        return Outcome(trial.label, wrong=(str(error),))
    return Outcome(trial.label, comparisons, tuple(c.message for c in comparisons if c.message))


def first_wrong(trials: Callable[[], Iterable[Trial]]) -> str:
    """The first thing that goes wrong, "" if nothing does; the trials after it are not run."""
    return next((f"{o.label}: {o.wrong[0]}" for o in outcomes(trials) if o.wrong), "")


@dataclass
class _Tally:
    cases: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    forward: float = -math.inf
    backward: float = -math.inf

    def add(self, outcome: Outcome) -> None:
        if outcome.skipped:
            self.skipped.append(outcome.skipped)
            return
        self.cases += 1
        if outcome.wrong:
            self.failed.append(f"{outcome.label}: {'; '.join(outcome.wrong)}")
        for c in outcome.comparisons:
            if not math.isfinite(c.ratio):
                continue
            if c.name.startswith("y"):
                self.forward = max(self.forward, c.ratio)
            else:
                self.backward = max(self.backward, c.ratio)


def conduct(name: str, trials: Callable[[], Iterable[Trial]]) -> Check:
    """Run every trial of a check.

    Raises:
        Ended: the process that was asked is gone.
    """
    started = time.perf_counter()
    tally = _Tally()
    for outcome in outcomes(trials):
        tally.add(outcome)
    return Check(
        name=name,
        status="failed" if tally.failed else "passed" if tally.cases else "skipped",
        cases=tally.cases,
        forward_error=tally.forward if math.isfinite(tally.forward) else None,
        backward_error=tally.backward if math.isfinite(tally.backward) else None,
        message=_message(tally),
        seconds=round(time.perf_counter() - started, 3),
    )


def _message(tally: _Tally) -> str:
    if not tally.failed:
        return "; ".join(tally.skipped)
    first = tally.failed[0]
    if len(tally.failed) == 1:
        return first
    return f"{len(tally.failed)} of {tally.cases} cases, first {first}"
