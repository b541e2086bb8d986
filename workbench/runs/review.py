"""What a person sees before they decide, and what the commit says: the run's records only."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from pydantic import BaseModel

from workbench import workflow as workflows
from workbench.errors import RunError
from workbench.evidence import Evidence
from workbench.repository import Repository, content_of
from workbench.runs import Run, StageResult
from workbench.runs.gate import CONFIRMED


class Review(BaseModel):
    """A run at its gate: what each stage found, what nobody knows, and every line to commit.

    `evidence` are the ids of the records that will be committed with it, beside the lines of the
    `diff`; `changes` says what is no longer as it was when the run reached its review.
    """

    run: Run
    results: dict[str, StageResult]
    unknown: list[str]
    evidence: list[str]
    changes: list[str]
    diff: str


def review(run: Run, repository: Repository) -> Review:
    """The review of a run, from its worktree or, once it is approved, from its commit.

    Raises:
        RunError: it has no candidate to look at.
    """
    changes: list[str] = []
    reviewed = run.latest("review")
    subject = workflows.load(run.request.workflow).subject(run.op)
    if run.approval is not None:
        tree = run.approval.commit
    else:
        present = content_of(repository.worktree(run.id), subject)
        if not present.files:
            why = f": {run.reason}" if run.reason else ""
            raise RunError(f"run {run.id} has nothing to review{why}", f"workbench show {run.id}")
        tree = repository.write_tree(run.base, subject, present.files)
        seen = reviewed.result.data.get("files") if reviewed else None
        changes = present.changes(seen) if seen else []
    results = {r.stage: r.result for r in run.records if not r.superseded and r.stage != "review"}
    return Review(
        run=run,
        results=results,
        unknown=[item for result in results.values() for item in result.unknown],
        evidence=reviewed.evidence if reviewed else [],
        changes=changes,
        diff=repository.diff(run.base, tree, without=subject.evidence),
    )


def commit_message(run: Run, approver: str, evidence: Sequence[Evidence]) -> str:
    """Subject, what the evidence says, and the trailers that name the run and the approver."""
    seen = [
        textwrap.fill(f"{record.kind}: {' · '.join(record.summary)}", 72, break_long_words=False)
        for record in evidence
    ]
    paragraphs = [
        *_what(run),
        "\n".join(seen),
        f"Workbench-Run: {run.id}\nApproved-by: {approver}",
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _what(run: Run) -> list[str]:
    """The subject, and where what was done came from."""
    if run.request.workflow == "bench":
        return [f"Tune {run.op}", f"From: {run.base}"]
    if run.request.workflow == "revise":
        words = " ".join(run.request.options["words"].split())
        asked = textwrap.fill(f"Asked for: {words}", 72, break_long_words=False)
        return [f"Revise {run.op}: written by {run.request.author}", asked, f"From: {run.base}"]
    if run.request.workflow == "autopatch":
        return [f"Patch {run.op}: written by {run.request.author}", _confirmed(run)]
    analysis, author = run.latest("analyze"), run.request.author
    tier = analysis.result.data.get("tier", run.request.tier) if analysis else run.request.tier
    written = "drafted offline" if author == "draft" else f"written by {author}"
    kernel = f"tier-{tier} kernel" if tier else "kernel"
    return [f"Add {run.op}: {kernel}, {written}", _confirmed(run)]


def _confirmed(run: Run) -> str:
    """What it was made of, and who confirmed that."""
    confirmed = [r.result.data[CONFIRMED] for r in run.records if CONFIRMED in r.result.data]
    what = "Of" if run.request.workflow == "autopatch" else "Reference:"
    said = f"{what} {run.request.origin}"
    said += f", confirmed by {confirmed[-1]['person']}" if confirmed else ""
    return textwrap.fill(said, 72, break_long_words=False)
