"""Why a run can't do what was asked of it, and what can be done instead."""

from __future__ import annotations

from workbench.errors import ProfileGate, RunError, WorkbenchError
from workbench.repository import branch
from workbench.runs import Run, State

_BEGINNINGS = {"kernel-dev": "new", "bench": "tune"}  # the others are called like their command


def refusal(run: Run) -> WorkbenchError:
    """The error for a run that is in no state for what was asked."""
    why = f": {run.reason}" if run.reason else ""
    if run.state in (State.REJECTED, State.ABORTED, State.UNCHANGED):
        was = "left the op" if run.state is State.UNCHANGED else "was"
        return RunError(
            f"run {run.id} {was} {run.state}{why}", f"{beginning(run)} starts a new one"
        )
    if run.approval is not None and run.state is State.COMMITTED:
        at = f"{run.approval.commit[:10]} on branch {branch(run.id)}"
        return RunError(f"run {run.id} is already committed: {at}", f"git merge {branch(run.id)}")
    if run.state is State.APPROVED:
        return RunError(
            f"run {run.id} is approved already", f"workbench resume {run.id} finishes its commit"
        )
    if run.state is State.PROFILE:
        return ProfileGate(
            f"nobody has confirmed yet what run {run.id} is about", f"workbench review {run.id}"
        )
    return RunError(f"run {run.id} has not reached the review{why}", f"workbench resume {run.id}")


def beginning(run: Run) -> str:
    """The command that such a run begins with."""
    return f"workbench {_BEGINNINGS.get(run.request.workflow, run.request.workflow)} {run.op}"
