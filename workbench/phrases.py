"""Phrases that several lines are made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from workbench.runs import Run, State, cohorts


def count(things: Sequence[object], name: str) -> str:
    """So many of what has that name."""
    plural = "es" if name.endswith("s") else "s"
    return f"{len(things)} {name}{plural * (len(things) != 1)}"


def place(run: Run) -> list[str]:
    """Which of several attempts it is, if it is one."""
    cohort = run.request.cohort
    return [] if cohort is None else [f"attempt {cohort.number} of {cohort.size}"]


def note(run: Run, among: Sequence[Run] = ()) -> str:
    """What a list of runs says of one besides its state."""
    cohort, said = run.request.cohort, _note(run)
    other = cohorts.landed(cohorts.members(among, cohort.id)) if cohort is not None else None
    if run.state is State.REVIEW and other is not None:
        said = f"{other.id} is approved instead"
    return ": ".join([*place(run), said])


def _note(run: Run) -> str:
    if run.state is State.COMMITTED and run.approval is not None:
        return f"{run.approval.commit[:10]} on workbench/{run.id}"
    if run.state in (State.REVIEW, State.PROFILE):
        return "waiting for you"
    last = f"after {run.records[-1].stage}" if run.records else "not begun"
    return run.reason or last


def age(moment: datetime) -> str:
    """How long ago it was."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"
