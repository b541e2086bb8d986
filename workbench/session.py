"""What commands begin and end with: the engine of the working directory, and how a run ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from workbench.errors import ProfileGate, VerificationFailed
from workbench.runs import Run, State

if TYPE_CHECKING:
    from workbench.console import Terminal
    from workbench.evidence.archive import Archive
    from workbench.runs.engine import Engine


def engine(terminal: Terminal) -> Engine:
    """The engine over the repository around the working directory."""
    from workbench.repository import Repository
    from workbench.runs.engine import Engine
    from workbench.runs.stages import STAGES

    return Engine(Repository.discover(Path.cwd()), STAGES, terminal)


def archive(terminal: Terminal) -> Archive:
    """The records of the repository around the working directory."""
    from workbench.evidence.archive import Archive

    found = engine(terminal)
    return Archive(found.repository, found.store)


def end(terminal: Terminal, run: Run) -> None:
    """Render what became of a run; one that failed, or waits for a person to confirm what it is
    about, ends the command with that exit code.
    """
    terminal.outcome(run)
    if run.state is State.PROFILE:
        raise typer.Exit(ProfileGate.exit_code)
    if run.state is State.FAILED:
        if terminal.as_json:
            raise typer.Exit(VerificationFailed.exit_code)
        raise VerificationFailed(
            f"run {run.id} failed; its files are in .workbench/worktrees/{run.id}",
            f"mend them and workbench resume {run.id}, or workbench abort {run.id}",
        )
