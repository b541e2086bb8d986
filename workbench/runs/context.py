"""What the engine and a stage have of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workbench.errors import RunError
from workbench.runs import Run, StageResult


@dataclass(frozen=True)
class Context:
    """What a stage may know: its run with all records, the worktree's root, the run's folder. It
    may `tell` what it does at the moment.
    """

    run: Run
    root: Path
    folder: Path
    tell: Callable[[str], None] = lambda doing: None

    def result(self, stage: str) -> StageResult:
        """The standing result of an earlier stage.

        Raises:
            RunError: the workflow has no such stage before this one.
        """
        record = self.run.latest(stage)
        if record is None:
            raise RunError(
                f"run {self.run.id} has no result of a stage {stage!r}",
                "check the workflow's order",
            )
        return record.result


StageFunction = Callable[[Context], StageResult]


class Progress(Protocol):
    """Who wants to know what a run does at the moment."""

    def started(self, stage: str) -> None:
        """The stage begins."""

    def doing(self, what: str) -> None:
        """The stage that runs is at this now."""

    def finished(self, stage: str, result: StageResult) -> None:
        """The stage ended and its record is stored."""
