"""Cohorts: runs of one request that are begun together, of which at most one lands.

Each is a run like any other, with a worktree, a transcript and limits of its own. (How often the
author of one run may try again is in `attempts`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from workbench.runs import CLOSED, Cohort, Record, Request, Run, State

if TYPE_CHECKING:
    from workbench.runs.store import Store  # sqlite3 is slow to ask for help

# More would hardly differ, and each is a process that has PyTorch in it.
MOST = 8
_LANDED = frozenset({State.APPROVED, State.COMMITTED})


def new(name: str, request: Request, attempts: int, base: str, created: datetime) -> list[Run]:
    """So many runs of a request; one alone is called `name`, and is of no cohort."""
    asked = {name: request}
    if attempts > 1:
        places = [Cohort(id=name, number=n + 1, size=attempts) for n in range(attempts)]
        asked = {f"{name}-{p.number}": request.model_copy(update={"cohort": p}) for p in places}
    return [
        Run(id=id_, request=own, base=base, created=created, updated=created)
        for id_, own in asked.items()
    ]


def keep(store: Store, runs: Sequence[Run], record: Record) -> None:
    """Keep for each what a stage found that is the same for all."""
    for run in runs:
        store.save(run, record)


def find(store: Store, prefix: str) -> list[Run]:
    """The runs of the cohort that is called so, or that alone begins with it; none if it is the id
    of a run, or begins others' too.
    """
    begun = [run for run in store.all() if prefix and run.id.startswith(prefix)]
    named = {run.request.cohort.id if run.request.cohort else run.id for run in begun}
    if len(begun) < 2 or len(named) > 1 or any(run.id == prefix for run in begun):
        return []
    return members(begun, named.pop())


def members(runs: Sequence[Run], cohort: str) -> list[Run]:
    """Those runs of a cohort that are among these, in their order."""
    own = [run for run in runs if run.request.cohort and run.request.cohort.id == cohort]
    return sorted(own, key=lambda run: run.request.cohort.number if run.request.cohort else 0)


def landed(runs: Sequence[Run]) -> Run | None:
    """The one that was approved."""
    return next((run for run in runs if run.state in _LANDED), None)


def to_drive(runs: Sequence[Run]) -> list[Run]:
    """Those that can go on; once one was approved, only that."""
    if (one := landed(runs)) is not None:
        return [one] if one.state is State.APPROVED else []
    return [run for run in runs if run.state not in CLOSED and run.state is not State.REVIEW]
