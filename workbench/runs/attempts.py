"""An author's attempts: whether it gets another, and what it is told of those before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.runs import Record, Run
from workbench.runs.gate import CONFIRMED
from workbench.workflow import Stage


def can_repair(run: Run, agent: Stage, failed: Record) -> bool:
    """Whether what failed is the author's own, it says that it can repair, and has attempts left.

    One that stopped before it was done is none. Files that a person edited are left to the person.
    """
    latest = run.latest(agent.name)
    attempts = sum(record.stage == agent.name and record.result.ok for record in _of_this_op(run))
    return (
        latest is not None
        and latest.content == failed.content
        and bool(latest.result.data.get("repairs"))
        and attempts < agent.attempts
    )


def findings(run: Run, agent: str) -> Iterator[str]:
    """What was found wrong with each attempt that another one was asked for after."""
    attempt: Record | None = None
    found = ""
    for record in _of_this_op(run):
        if record.stage == agent:
            if found:
                yield found
            attempt, found = (record if record.result.ok and record.superseded else None), ""
        elif attempt is not None and not record.result.ok and record.content == attempt.content:
            found = record.result.findings or record.result.problem
    if found:
        yield found


def _of_this_op(run: Run) -> Sequence[Record]:
    """The records since a person confirmed what the op is; all, where none had to."""
    gates = [number for number, record in enumerate(run.records) if CONFIRMED in record.result.data]
    return run.records[gates[-1] if gates else 0 :]
