"""A run: one trip of a workflow, as a record that survives the process which drives it.

The models here are what the store keeps and what `--json` prints. They know nothing of git, torch
or a terminal.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.evidence import Evidence


class State(StrEnum):
    """Where a run is. OPEN, FAILED and PARKED runs can be resumed, a PARKED one with more to spend;
    PROFILE and REVIEW wait for a person; the last four are final.
    """

    OPEN = "open"
    PROFILE = "profile"
    FAILED = "failed"
    PARKED = "parked"
    REVIEW = "review"
    APPROVED = "approved"
    COMMITTED = "committed"
    REJECTED = "rejected"
    ABORTED = "aborted"
    UNCHANGED = "unchanged"


STOPPED = frozenset({State.FAILED, State.PARKED})
CLOSED = frozenset({State.COMMITTED, State.REJECTED, State.ABORTED, State.UNCHANGED})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Commission(_Frozen):
    """What a reference is to be written from, where no person wrote one: words, or the `source` of
    a class. `derived` is the reference, where it could be had without a model.
    """

    words: str = ""
    source: str = ""
    derived: str = ""


class Cohort(_Frozen):
    """Which of how many runs of one request this is: they are begun together, each an attempt at
    the op on its own, and at most one of them is ever approved.
    """

    id: str
    number: int
    size: int


class Request(_Frozen):
    """What was asked for. `reference` is all of it: a resumed run needs no file of the user's. A
    run about an op of the library has none, and one with a `commission` has none until a person
    confirmed it; `options` is what its workflow and its author want to know besides. `cohort` is
    there where several attempts were asked for. With `confirm`, a person confirms the profile
    though nobody wrote anything yet.
    """

    op: str
    origin: str
    reference: dict[str, Any]
    commission: Commission | None = None
    tier: int | None = None
    force_tier: bool = False
    author: str = "draft"
    workflow: str = "kernel-dev"
    options: dict[str, Any] = {}
    cohort: Cohort | None = None
    confirm: bool = False

    @property
    def waits(self) -> bool:
        """Whether a person has to confirm what the run is about."""
        return self.confirm or self.commission is not None


class StageResult(_Frozen):
    """What a stage found: the facts of its line, what it could not find out, the data behind both.

    `findings` are what the author may know of a problem, where that is not all of it. `tables` are
    rows for a reviewer, by title. `evidence` is stored in a table of its own; what is
    kept here are its ids, in the `Record`. `ends` says why there is nothing to review: the run is
    over.
    """

    ok: bool = True
    summary: list[str]
    problem: str = ""
    findings: str = ""
    ends: str = ""
    unknown: list[str] = []
    tables: dict[str, list[dict[str, Any]]] = {}
    data: dict[str, Any] = {}
    evidence: list[Evidence] = Field(default=[], exclude=True, repr=False)


class Record(_Frozen):
    """A stage that ended. `content` is the hash of the op's files it was about, "" without any.

    `evidence` are the ids of the records that the stage made.
    """

    stage: str
    result: StageResult
    evidence: list[str] = []
    content: str = ""
    started: datetime
    seconds: float
    superseded: bool = False


class Approval(_Frozen):
    """Who let which content in on which evidence, and the commit object made of both."""

    approver: str
    content: str
    evidence: list[str] = []
    commit: str
    at: datetime


class Run(_Frozen):
    """One run with all its records, oldest first. `base` is the commit it started from."""

    id: str
    request: Request
    base: str
    state: State = State.OPEN
    reason: str = ""
    approval: Approval | None = None
    created: datetime
    updated: datetime
    records: list[Record] = Field(default_factory=list)

    @property
    def op(self) -> str:
        """Name of what the run is about: an op, or a type of models."""
        return self.request.op

    def latest(self, stage: str) -> Record | None:
        """The stage's last record that still stands."""
        standing = (r for r in reversed(self.records) if r.stage == stage and not r.superseded)
        return next(standing, None)
