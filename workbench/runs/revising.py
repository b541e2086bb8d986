"""What `workbench revise` asks for, and the stage in which an author changes an op."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from workbench.errors import RepositoryError, UsageError
from workbench.layout import op_paths
from workbench.repository import Repository, content
from workbench.runs import Request, StageResult
from workbench.runs.attempts import findings
from workbench.runs.context import Context

WORKFLOW = STAGE = "revise"
WORDS = "words"
MOST_CHARACTERS = 20_000


def request(
    repository: Repository, op: str, words: str, author: str, options: Mapping[str, Any]
) -> Request:
    """What is asked for.

    Raises:
        UsageError: no such op, an author that can't, or nothing to change.
        RepositoryError: the op is not committed, or it isn't whole.
    """
    from workbench import authors

    repository.check_ops([op])
    folder, test = op_paths(op)
    for path in (f"{folder}/spec.py", f"{folder}/kernel.py", f"{folder}/wrapper.py", test):
        if not repository.has("HEAD", path):
            raise RepositoryError(f"HEAD has no {path}", "commit it first: a run starts from HEAD")
    if not words.strip() or len(words) > MOST_CHARACTERS:
        raise UsageError(
            f"what to change is said in 1 to {MOST_CHARACTERS:,} characters",
            f'workbench revise {op} "serve float64 too"',
        )
    authors.reviser(author)
    return Request(
        op=op,
        origin="the library",
        reference={},
        author=author,
        workflow=WORKFLOW,
        options={**options, WORDS: words.strip()},
    )


def revise(context: Context) -> StageResult:
    """Let the run's author change the op's kernel and wrapper.

    Raises:
        AuthorError: the author can't, or its budget is spent.
    """
    from workbench import authors

    run, root = context.run, context.root
    spec = (root / op_paths(run.op)[0] / "spec.py").read_text("utf-8", "replace")
    tier, before = re.search(r"\btier=(\d+)", spec), content(root, run.op)
    written = authors.reviser(run.request.author).revise(
        authors.Revision(
            op=run.op,
            words=run.request.options[WORDS],
            tier=int(tier[1]) if tier is not None else 1,
            root=root,
            folder=context.folder,
            findings=tuple(findings(run, STAGE)),
            options=run.request.options,
            tell=context.tell,
        )
    )
    changes = content(root, run.op).changes(before.digests)
    return StageResult(
        summary=[f"{run.request.author} author", *written.facts, *changes],
        ends="" if changes else f"{run.request.author} changed nothing",
        unknown=list(written.unknown),
        data={"files": [p.as_posix() for p in written.paths], "repairs": written.repairs},
    )
