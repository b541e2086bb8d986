"""What a person sees before they decide, and what the commit says: the run's records only."""

from __future__ import annotations

import textwrap

from pydantic import BaseModel

from workbench.errors import RunError
from workbench.repository import Repository, content
from workbench.runs import Run, StageResult


class Review(BaseModel):
    """A run at its gate: what each stage found, what nobody knows, and every line to commit.

    `changes` says what is no longer as it was when the run reached its review.
    """

    run: Run
    results: dict[str, StageResult]
    unknown: list[str]
    changes: list[str]
    diff: str


def review(run: Run, repository: Repository) -> Review:
    """The review of a run, from its worktree or, once it is approved, from its commit.

    Raises:
        RunError: it has no candidate to look at.
    """
    changes: list[str] = []
    if run.approval is not None:
        tree = run.approval.commit
    else:
        present = content(repository.worktree(run.id), run.op)
        if not present.files:
            why = f": {run.reason}" if run.reason else ""
            raise RunError(f"run {run.id} has nothing to review{why}", f"workbench show {run.id}")
        tree = repository.write_tree(run.base, run.op, present.files)
        reviewed = run.latest("review")
        changes = present.changes(reviewed.result.data["files"]) if reviewed else []
    results = {r.stage: r.result for r in run.records if not r.superseded and r.stage != "review"}
    return Review(
        run=run,
        results=results,
        unknown=[item for result in results.values() for item in result.unknown],
        changes=changes,
        diff=repository.diff(run.base, tree),
    )


def commit_message(run: Run, approver: str) -> str:
    """Subject, what was found, and the trailers that name the run and the approver."""
    analysis, author = run.latest("analyze"), run.request.author
    tier = analysis.result.data.get("tier", run.request.tier) if analysis else run.request.tier
    written = "drafted offline" if author == "draft" else f"written by {author}"
    kernel = f"tier-{tier} kernel" if tier else "kernel"
    verdicts = [
        textwrap.fill(
            f"{record.stage}: {' · '.join(record.result.summary)}", 72, break_long_words=False
        )
        for stage in ("verify", "bench")
        if (record := run.latest(stage)) is not None
    ]
    paragraphs = [
        f"Add {run.op}: {kernel}, {written}",
        textwrap.fill(f"Reference: {run.request.origin}", 72, break_long_words=False),
        "\n".join(verdicts),
        f"Workbench-Run: {run.id}\nApproved-by: {approver}",
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"
