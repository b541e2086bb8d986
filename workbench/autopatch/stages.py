"""What the stages of the autopatch workflow do, and what the command asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.autopatch import Anatomy
from workbench.errors import ModelError, UsageError
from workbench.layout import recipe
from workbench.phrases import count
from workbench.repository import Repository, content_of
from workbench.runs import Request, StageResult
from workbench.runs.attempts import findings
from workbench.runs.context import Context

WORKFLOW = "autopatch"
_NEEDS = "pip install 'kernel-workbench[training]'"


def request(
    kind: str,
    config: Mapping[str, Any],
    leave: Sequence[str],
    author: str,
    options: Mapping[str, Any],
) -> Request:
    """What `workbench autopatch` asks for.

    Raises:
        UsageError: transformers is not installed or has no such type, or an author that can't.
    """
    from workbench import authors

    if find_spec("transformers") is None:
        raise UsageError("transformers is not installed", _NEEDS)
    from workbench.models import tiny

    if kind not in tiny.types():
        raise UsageError(
            f"transformers has no language model of type {kind!r}",
            "workbench models lists those there are",
        )
    authors.patcher(author)
    return Request(
        op=kind,
        origin=f"transformers {_version()}" + (", of a configuration" if config else ""),
        reference={},
        author=author,
        workflow=WORKFLOW,
        options={**options, "config": dict(config), "leave": list(leave)},
        confirm=True,
    )


def _version() -> str:
    from importlib.metadata import version

    return version("transformers")


def look_into(context: Context) -> StageResult:
    """What is in the model, without any recipe.

    Raises:
        UsageError: what is to be left is not in it.
        ModelError: no tiny model of it runs.
        VerificationFailed: the process in the sandbox ended.
    """
    from workbench.autopatch.sandboxed import Bench

    run = context.run
    context.tell("building a tiny model, and proving what serves it")
    asked = {"kind": run.op, "config": run.request.options["config"], "recipes": False}
    with Bench(_base(context)) as bench:
        try:
            said, _ = bench.ask("look", **asked)
        except ModelError as error:
            raise ModelError(
                f"no tiny model of {run.op} can be looked into: {error}",
                "workbench models says which types run, given text alone",
            ) from error
    found = Anatomy.model_validate(said)
    _left(found, run.request.options["leave"])
    served, total = found.counts
    hinted = sum(part.count for part in found.served if part.hint)
    summary = [
        found.model.rpartition(".")[2],
        f"{served} of {total} modules can be served",
        *([f"{hinted} of them once it is said how"] if hinted else []),
        *([f"no rule sees {count(found.unseen, 'class')}"] if found.unseen else []),
    ]
    return StageResult(summary=summary, data=found.model_dump(mode="json"))


def write_recipe(context: Context) -> StageResult:
    """Let the run's author write the recipe.

    Raises:
        AuthorError: the author can't, or its budget is spent.
    """
    from workbench import authors

    run, root = context.run, context.root
    anatomy = Anatomy.model_validate(context.result("analyze").data)
    written = authors.patcher(run.request.author).patch(
        authors.Patching(
            anatomy=anatomy,
            leave=_left(anatomy, run.request.options["leave"]),
            root=root,
            folder=context.folder,
            findings=tuple(findings(run, "generate")),
            options=run.request.options,
            tell=context.tell,
        )
    )
    own = recipe(run.op)
    same = content_of(root, own).digests == content_of(_base(context), own).digests
    paths = [path.as_posix() for path in written.paths]
    return StageResult(
        summary=[f"{run.request.author} author", *written.facts, *paths],
        ends=f"the recipe of {run.op} is what it was" if same else "",
        unknown=list(written.unknown),
        data={"files": paths, "repairs": written.repairs},
    )


def _base(context: Context) -> Path:
    """The library as it is without the run."""
    run = context.run
    return Repository.discover(context.folder).ensure_variant(run.id, "base", run.base)


def _left(anatomy: Anatomy, asked: Sequence[str]) -> dict[tuple[str, str], str]:
    """The classes and kinds that a person wants left, each by its class's name.

    Raises:
        UsageError: the model has none of it.
    """
    found = {}
    for name in asked:
        parts = [part for part in anatomy.served if name in (part.short, part.name)]
        if not parts:
            known = ", ".join(dict.fromkeys(part.short for part in anatomy.served))
            raise UsageError(f"nothing serves a {name!r} of {anatomy.type}", f"there are {known}")
        found.update({(part.name, part.kind): "a person asked for that" for part in parts})
    return found


def prove_recipe(context: Context) -> StageResult:
    """Train the model with the recipe and without, and with kernels that are wrong.

    Raises:
        ModelError: no tiny model of it runs.
        VerificationFailed: the process in the sandbox ended.
    """
    from workbench.autopatch.verify import verify
    from workbench.evidence.make import of_models
    from workbench.jobs import lock

    run, root = context.run, context.root
    confirmed = Anatomy.model_validate(context.result("analyze").data)
    with lock.own_gpu(lambda step: context.tell(step.what)):  # nobody is timed meanwhile
        config = run.request.options["config"]
        verdict = verify(root, _base(context), confirmed, config, context.tell)
    failures = [f"{check.name}: {check.message}" for check in verdict.failures]
    return StageResult(
        ok=verdict.passed,
        summary=verdict.summary(),
        problem="" if verdict.passed else "\n".join(failures) or "no check passed",
        unknown=verdict.unknown(),
        tables=verdict.tables(),
        data=verdict.model_dump(mode="json"),
        evidence=[of_models(verdict, root)],
    )
