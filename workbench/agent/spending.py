"""What a run spent, counted from its transcripts."""

from __future__ import annotations

from pathlib import Path

from workbench.agent.budget import Budget
from workbench.agent.transcript import FILE, Begun, Replied, Result, entries
from workbench.limits import Limits


def count(folder: Path, budget: Budget) -> None:
    """Count what was spent in the run's other conversations: limits are those of the whole run."""
    for path in sorted(folder.glob("*.jsonl")):
        if path.name != FILE:
            _count(path, budget)


def spent(folder: Path) -> Budget:
    """What was spent in all of a run's conversations so far, also of one that goes on."""
    budget = Budget(Limits(), None)
    for path in sorted(folder.glob("*.jsonl")):
        _count(path, budget)
        budget.settle()
    return budget


def _count(path: Path, budget: Budget) -> None:
    for entry in entries(path):
        if isinstance(entry, Begun):
            budget.begun(entry.model, entry.usage)
        elif isinstance(entry, Replied):
            budget.replied(entry.model, entry.reply.usage, entry.seconds)
        elif isinstance(entry, Result):
            budget.worked(entry.seconds)
