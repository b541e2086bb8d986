"""The run engine: drives a run through its workflow, and lets a person end it.

What `resume` runs is the first stage without a finished record. A record of a check is finished
only for the content it was about: a candidate that was edited since is checked again. Every
transition is one transaction of the store, and every step before it can be done twice, so a run
killed at any instant goes on from its last finished stage.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from workbench import workflow as workflows
from workbench.errors import (
    AgentAway,
    EvidenceError,
    Interrupted,
    LimitReached,
    RunError,
    StorageError,
    UsageError,
    WorkbenchError,
)
from workbench.evidence.document import Document
from workbench.layout import Subject
from workbench.repository import Content, Repository, branch, content_of
from workbench.runs import (
    CLOSED,
    STOPPED,
    Approval,
    Record,
    Request,
    Run,
    StageResult,
    State,
    cohorts,
    gate,
    refusals,
)
from workbench.runs.attempts import can_repair
from workbench.runs.context import Context, Progress, StageFunction
from workbench.runs.review import commit_message
from workbench.runs.store import Store, now, room_errors
from workbench.text import printable
from workbench.workflow import Stage, Workflow

__all__ = ["Context", "Engine", "Progress", "StageFunction"]


class Engine:
    """The runs of one repository. `stages` says what each agent and check stage does."""

    def __init__(
        self, repository: Repository, stages: Mapping[str, StageFunction], progress: Progress
    ) -> None:
        self.repository = repository
        self.store = Store(repository.state)
        self._stages = stages
        self._progress = progress

    def start(self, request: Request) -> Run:
        """Begin a run and drive it to its review or its failure.

        Raises:
            WorkbenchError: a stage can't go on; the run is kept, with the reason.
        """
        (run,) = self.begin(request)
        return self.resume(run.id)

    def begin(self, request: Request, attempts: int = 1) -> list[Run]:
        """So many new runs of a request, all or none, none of them driven yet."""
        workflows.load(request.workflow)
        base, created = self.repository.head(), now()
        while True:
            name = f"{request.op}-{secrets.token_hex(2)}"
            runs = cohorts.new(name, request, attempts, base, created)
            free = all(self.repository.branch_head(run.id) is None for run in runs)
            if free and self.store.create(*runs):
                return runs

    def resume(self, run_id: str, options: Mapping[str, Any] | None = None) -> Run:
        """Drive a run on from its first unfinished stage, or finish a commit that was approved.
        From here on these options stand instead of those it began with.

        Raises:
            RunError: unknown, rejected or aborted, or driven by another process.
            WorkbenchError: a stage can't go on; the run is kept, with the reason.
        """
        with self._held(run_id) as run:
            if run.state in (State.COMMITTED, State.UNCHANGED):
                return run
            if run.state in CLOSED:
                raise self._refusal(run)
            if run.state is State.APPROVED:
                return self._commit(run)
            if options:
                run = self.store.save(_with_options(run, options))
            return self._drive(run)

    def approve(self, run_id: str, approver: str) -> Run:
        """Commit exactly the content that was reviewed and the evidence of it, in the name of
        `approver` (`Name <email>`).

        Raises:
            RunError: not at review, a file changed since, or another attempt is approved.
            EvidenceError: a record is missing, was changed, or is about something else.
        """
        with self._held(run_id) as run:
            if run.state is State.APPROVED:
                return self._commit(run)
            if run.state is not State.REVIEW:
                raise self._refusal(run)
            gate.check(run, self.store.folder_of(run.id))
            present, document = self._reviewed(run)
            subject = _subject(run)
            files = {**present.files, subject.evidence: document.dump().encode()}
            tree = self.repository.write_tree(run.base, subject, files)
            message = commit_message(run, approver, document.evidence)
            commit = self.repository.write_commit(tree, run.base, message, approver)
            # From here on the commit exists as an object; finishing needs no worktree.
            approval = Approval(
                approver=approver,
                content=present.hash,
                evidence=[evidence.id for evidence in document.evidence],
                commit=commit,
                at=now(),
            )
            return self._commit(self.store.save(_at(run, State.APPROVED, approval=approval)))

    def reject(self, run_id: str, reason: str) -> Run:
        """Discard the candidate and keep the record, with the reason.

        Raises:
            UsageError: no reason.
            RunError: not at review.
        """
        if not reason.strip():
            raise UsageError("a rejection needs a reason", 'workbench reject RUN --reason "..."')
        with self._held(run_id) as run:
            if run.state is not State.REVIEW:
                raise self._refusal(run)
            return self._close(run, State.REJECTED, reason.strip())

    def abort(self, run_id: str) -> Run:
        """Discard a run that has not been approved and keep its record.

        Raises:
            RunError: it is approved, committed, rejected or aborted already.
        """
        with self._held(run_id) as run:
            if run.state in CLOSED or run.state is State.APPROVED:
                raise self._refusal(run)
            return self._close(run, State.ABORTED, "")

    def confirm(self, run_id: str, person: str) -> Run:
        """Freeze the reference and the profile that `person` was shown, and drive the run on.

        Raises:
            RunError: it doesn't wait for that.
            ProfileGate: one of them is not what was shown.
        """
        with self._held(run_id) as run:
            if run.state is not State.PROFILE:
                raise gate.no_confirmation(run)
            workflow, folder = workflows.load(run.request.workflow), self.store.folder_of(run.id)
            stage = workflow.of_kind("gate")
            frozen, record = gate.confirmed(run, folder, stage.name, person)
            agent, again = workflow.agent(), gate.set_aside(run, folder, record)
            run = self.store.save(
                _at(frozen, State.OPEN), record, agent.name if agent and again else ""
            )
            self._progress.finished(stage.name, record.result)
            return self._drive(run)

    def change(self, run_id: str, text: str | None, tier: int | None, force: bool) -> Run:
        """Put this reference, this tier or both in place of those that are there, and drive the run
        to where they are to be confirmed.

        Raises:
            RunError: its reference is none that waits, or waited, for a person.
        """
        with self._held(run_id) as run:
            if problem := gate.no_change(run):
                raise problem
            run = self.store.save(gate.changed(run, tier, force), supersede=gate.ANALYSIS)
            gate.write(self.store.folder_of(run.id), text)
            return self._drive(run)

    # Driving

    @contextmanager
    def _held(self, run_id: str) -> Iterator[Run]:
        run_id = self.store.find(run_id).id
        with self.store.hold(run_id) as descriptor:
            self.repository.keep_open = (descriptor,)
            try:
                yield self.store.get(run_id)
            except KeyboardInterrupt:
                raise Interrupted(
                    f"run {run_id} was stopped", f"workbench resume {run_id}"
                ) from None
            finally:
                self.repository.keep_open = ()

    def _drive(self, run: Run) -> Run:
        workflow = workflows.load(run.request.workflow)
        while (stage := self._next(run, workflow)) is not None:
            if stage.kind == "gate":
                return self.store.save(_at(run, State.PROFILE))  # until somebody confirms it
            step = self._wait_for_review if stage.kind == "review" else self._step
            run = step(run, workflow, stage)
            if run.state in STOPPED or run.state in CLOSED:
                break
        return run

    def _next(self, run: Run, workflow: Workflow) -> Stage | None:
        """The first stage without a finished record."""
        present, folder = self._content(run).hash, self.store.folder_of(run.id)
        for stage in workflow.stage:
            record = run.latest(stage.name)
            if stage.kind == "gate" and gate.is_open(run, folder):
                continue
            if stage.kind == "gate" or record is None or not record.result.ok:
                return stage
            if gate.is_stale(record, folder):
                return stage
            if stage.kind == "agent" and not present:
                return stage
            if workflow.is_about_candidate(stage) and record.content != present:
                return stage
            if stage.kind == "review" and run.state is not State.REVIEW:
                return stage
        return None

    def _step(self, run: Run, workflow: Workflow, stage: Stage) -> Run:
        self._progress.started(stage.name)
        started, clock = now(), time.monotonic()
        with room_errors(f"run {run.id} is as it was before {stage.name}"):
            if stage.kind == "agent":
                self.repository.remove_worktree(run.id)
            if stage.kind == "agent" or workflow.is_about_candidate(stage):
                self.repository.ensure_worktree(run.id, run.base)
            error, result = self._perform(run, stage)
        record = Record(
            stage=stage.name,
            result=result,
            evidence=[evidence.id for evidence in result.evidence],
            content=self._content(run).hash,
            started=started,
            seconds=round(time.monotonic() - clock, 3),
        )
        run = self._save(run, workflow, stage, record, error)
        # An error ends the command and is told there; a line of it here would say it twice.
        self._progress.finished(stage.name, result if error is None else _failure(""))
        if error is not None:
            raise error
        return run

    def _perform(self, run: Run, stage: Stage) -> tuple[WorkbenchError | None, StageResult]:
        """The stage's result; an error is a failed result, and what to end the command with."""
        root, about = self.repository.worktree(run.id), workflows.load(run.request.workflow).about
        before = self._content(run).hash
        try:
            context = Context(run, root, self.store.folder_of(run.id), self._progress.doing)
            result = self._stages[stage.does or stage.name](context)
        except StorageError:
            raise
        except WorkbenchError as error:
            return error, _failure(str(error))
        if stage.kind != "agent" and self._content(run).hash != before:
            return None, _failure(f"the {about}'s files changed during {stage.name}")
        if root.exists() and (strays := self.repository.strays(run.id, _subject(run))):
            touched = ", ".join(map(printable, strays))
            return None, _failure(f"{stage.name} touched what is not the {about}'s: {touched}")
        return None, result

    def _save(
        self,
        run: Run,
        workflow: Workflow,
        stage: Stage,
        record: Record,
        error: WorkbenchError | None = None,
    ) -> Run:
        """Store what the stage led to: on, back to the agent for a repair, or where the run stops.
        What ended the stage with an error no author can repair.
        """
        if record.result.ok and record.result.ends:
            return self._close(run, State.UNCHANGED, record.result.ends, record)
        if record.result.ok:
            return self.store.save(_at(run, State.OPEN), record)
        agent = workflow.agent() if error is None and workflow.is_about_candidate(stage) else None
        if agent is not None and can_repair(run, agent, record):
            return self.store.save(_at(run, State.OPEN), record, supersede=agent.name)
        reason = f"{stage.name}: {record.result.problem}".splitlines()[0]
        state = State.PARKED if isinstance(error, LimitReached | AgentAway) else State.FAILED
        return self.store.save(_at(run, state, reason=reason), record)

    def _wait_for_review(self, run: Run, workflow: Workflow, stage: Stage) -> Run:
        present = self._content(run)
        checks = [s.name for s in workflow.stage if workflow.is_about_candidate(s) and s != stage]
        ids = [id_ for name in checks if (r := run.latest(name)) is not None for id_ in r.evidence]
        try:
            self._document(run, ids, present)
            result = StageResult(summary=["waiting for you"], data={"files": present.digests})
        except EvidenceError as error:
            result = _failure(str(error))
        record = Record(
            stage=stage.name,
            result=result,
            evidence=ids,
            content=present.hash,
            started=now(),
            seconds=0.0,
        )
        if not result.ok:
            self._progress.finished(stage.name, result)
            return self._save(run, workflow, stage, record)
        return self.store.save(_at(run, State.REVIEW), record)

    # Ending

    def _reviewed(self, run: Run) -> tuple[Content, Document]:
        """The candidate's content and the evidence of it, which are what was reviewed."""
        record = run.latest(workflows.load(run.request.workflow).of_kind("review").name)
        present = self._content(run)
        changes = present.changes(record.result.data["files"] if record else {})
        if changes:
            raise RunError(
                f"run {run.id} is not what was reviewed: {'; '.join(changes)}",
                f"workbench resume {run.id} verifies it again and brings it back to review",
            )
        return present, self._document(run, record.evidence if record else [], present)

    def _document(self, run: Run, ids: Sequence[str], present: Content) -> Document:
        """The records of these ids, as they may be committed with this content.

        Raises:
            EvidenceError: one is gone, or they may not.
        """
        anew = f"workbench abort {run.id}, then {refusals.beginning(run)}"
        kept = {evidence.id: evidence for evidence in self.store.evidence(run=run.id)}
        if lost := [id_[:12] for id_ in ids if id_ not in kept]:
            raise EvidenceError(f"run {run.id} has lost its evidence {', '.join(lost)}", anew)
        try:
            return Document.of(run.op, present, [kept[id_] for id_ in ids])
        except EvidenceError as error:
            raise EvidenceError(f"run {run.id}: {error}", anew) from error

    def _commit(self, run: Run) -> Run:
        """Move the branch to the approved commit and clean up; each step may be done already."""
        if run.approval is None:
            raise RunError(f"run {run.id} has no approval", f"workbench approve {run.id}")
        started = now()
        self.repository.move_branch(run.id, run.approval.commit, run.base)
        self.repository.remove_variants(run.id)
        self.repository.remove_worktree(run.id)
        facts = [
            f"{run.approval.commit[:10]} on branch {branch(run.id)}",
            f"approved by {run.approval.approver}",
        ]
        result = StageResult(summary=facts, data={"commit": run.approval.commit})
        record = Record(
            stage="commit",
            result=result,
            content=run.approval.content,
            started=started,
            seconds=round((now() - started).total_seconds(), 3),
        )
        run = self.store.save(_at(run, State.COMMITTED), record)
        self._progress.finished("commit", result)
        return run

    def _close(self, run: Run, state: State, reason: str, record: Record | None = None) -> Run:
        run = self.store.save(_at(run, state, reason=reason), record)
        self.repository.discard(run.id)
        return run

    def _refusal(self, run: Run) -> WorkbenchError:
        """Why the run can't do what was asked; also finishes a clean-up that was cut short."""
        if run.state in (State.REJECTED, State.ABORTED, State.UNCHANGED):
            self.repository.discard(run.id)
        return refusals.refusal(run)

    def _content(self, run: Run) -> Content:
        return content_of(self.repository.worktree(run.id), _subject(run))


def _subject(run: Run) -> Subject:
    return workflows.load(run.request.workflow).subject(run.op)


def _at(run: Run, state: State, *, reason: str = "", approval: Approval | None = None) -> Run:
    return run.model_copy(
        update={"state": state, "reason": reason, "approval": approval or run.approval}
    )


def _with_options(run: Run, options: Mapping[str, Any]) -> Run:
    request = run.request.model_copy(update={"options": {**run.request.options, **options}})
    return run.model_copy(update={"request": request})


def _failure(problem: str) -> StageResult:
    return StageResult(ok=False, summary=[], problem=problem)
