"""A model changes an op of the library: the same loop, with two files to write instead of three."""

from __future__ import annotations

from functools import partial
from typing import Literal

from workbench.agent import defining, prompts
from workbench.agent.budget import Budget
from workbench.agent.conversation import Conversation
from workbench.agent.files import Files
from workbench.agent.model import Model
from workbench.agent.prices import facts
from workbench.agent.tools import (
    SUBMIT,
    Checks,
    Compile,
    Edit,
    Submit,
    Tool,
    Tools,
    Verify,
    Write,
    reading,
    submit,
)
from workbench.agent.transcript import FILE, Transcript
from workbench.authors import Revision
from workbench.limits import Limits

OwnFile = Literal["kernel.py", "wrapper.py"]
OWN: tuple[OwnFile, ...] = ("kernel.py", "wrapper.py")


class WriteOne(Write):
    """Write one of your two files anew."""

    file: OwnFile


class EditOne(Edit):
    """Replace a text that occurs exactly once in one of your two files."""

    file: OwnFile


class SubmitBoth(Submit):
    """Hand the op in: your files are laid out by the formatter, then judged. Call it alone."""


class RevisionTools(Tools):
    """The tools of who revises an op: the repository to read, two files to write."""

    def __init__(self, files: Files, checks: Checks) -> None:
        super().__init__(
            [
                *reading(files),
                Tool("write", WriteOne, files.write, writes=True),
                Tool("edit", EditOne, files.edit, writes=True),
                Tool("verify", Verify, checks.verify),
                Tool("compile", Compile, checks.compile),
                Tool(SUBMIT, SubmitBoth, partial(submit, files, OWN), writes=True),
            ]
        )


def revise(revision: Revision, model: Model, limits: Limits, checks: Checks) -> Budget:
    """Let the model change the op in its worktree; what it spent.

    Raises:
        LimitReached: what it may spend is spent.
        AuthorError: the model can't be asked, or won't go on.
    """
    files = Files(revision.root, revision.op)
    budget = Budget(limits, facts(model.name).price)
    transcript = Transcript(revision.folder / FILE)
    tools = RevisionTools(files, checks)
    conversation = Conversation(model, tools, transcript, budget, revision.tell)
    system, task = prompts.revision(revision, budget.limits)
    repairs = [prompts.repair(revision, n, limits) for n in range(len(revision.findings))]
    with defining.parked(revision.run, budget):
        conversation.run(system, task, repairs)
    return budget
