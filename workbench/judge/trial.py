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


@dataclass
class _Tally:
    cases: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    forward: float = -math.inf
    backward: float = -math.inf

    def add(self, label: str, comparisons: list[Comparison]) -> None:
        self.cases += 1
        if wrong := [c.message for c in comparisons if c.message]:
            self.failed.append(f"{label}: {'; '.join(wrong)}")
        for c in comparisons:
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
    for trial in _guarded(trials, tally):
        try:
            tally.add(trial.label, trial.attempt())
        except Skip as reason:
            tally.skipped.append(f"{trial.label}: {reason}")
        except (Wrong, Raised) as error:
            tally.cases += 1
            tally.failed.append(f"{trial.label}: {error}")
    return Check(
        name=name,
        status="failed" if tally.failed else "passed" if tally.cases else "skipped",
        cases=tally.cases,
        forward_error=tally.forward if math.isfinite(tally.forward) else None,
        backward_error=tally.backward if math.isfinite(tally.backward) else None,
        message=_message(tally),
        seconds=round(time.perf_counter() - started, 3),
    )


def _guarded(trials: Callable[[], Iterable[Trial]], tally: _Tally) -> Iterator[Trial]:
    """The trials; a `Skip` while preparing one skips the rest."""
    try:
        yield from trials()
    except Skip as reason:
        tally.skipped.append(str(reason))


def _message(tally: _Tally) -> str:
    if not tally.failed:
        return "; ".join(tally.skipped)
    first = tally.failed[0]
    if len(tally.failed) == 1:
        return first
    return f"{len(tally.failed)} of {tally.cases} cases, first {first}"
