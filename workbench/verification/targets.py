"""What a word of the user's means: an op, a run, a folder or a git range, as ops below a root."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from workbench.errors import RepositoryError, RunError, UsageError
from workbench.layout import LIBRARY, op_paths
from workbench.repository import Repository, ops_in
from workbench.runs.store import Store
from workbench.verification import Kind, ranges, rules
from workbench.verification.changes import Changes
from workbench.verification.ranges import Range
from workbench.verification.rules import Rule
from workbench.verification.staging import NEEDED, stage


@dataclass(frozen=True, kw_only=True)
class Target:
    """Ops below a library's `root`, with the `rules` that go for them beside the judge's checks.

    `facts` say what it is. `base` and `head` are commits, None where there is no such; `changes`
    is what a range changes. Evidence is kept in `store`, under the id of the `run` if it is one.
    """

    text: str
    kind: Kind
    root: Path
    ops: tuple[str, ...]
    rules: tuple[Rule, ...]
    facts: tuple[str, ...] = ()
    base: str | None = None
    head: str | None = None
    changes: Changes | None = None
    store: Store | None = None
    run: str = ""

    def only(self, names: Sequence[str]) -> Target:
        """The target with just these of its ops; with all of them if none is named.

        Raises:
            UsageError: it has no such op to judge.
        """
        for name in names:
            if name not in self.ops:
                raise UsageError(
                    f"{self.text} has no op {name!r} to judge",
                    f"its ops are: {', '.join(self.ops) or 'none'}",
                )
        return replace(self, ops=tuple(op for op in self.ops if op in names or not names))


@contextmanager
def resolve(text: str, kind: Kind | None = None) -> Iterator[Target]:
    """What `text` is, seen from the working directory. Files written out for it go in the end.

    Raises:
        UsageError: it's nothing that can be verified, or not of that kind; lists what is near it.
        RunError: the run has no files, or several runs are meant.
        RepositoryError: git can't say.
    """
    repository, outside = None, ""
    try:
        repository = Repository.discover(Path.cwd())
    except RepositoryError as error:
        outside = str(error)
    with tempfile.TemporaryDirectory(prefix="workbench-verify-") as folder:
        scratch, why_not = Path(folder).resolve(), []
        for each in [kind] if kind else Kind:
            if each is Kind.FOLDER:
                found = _folder(text, repository, scratch)
            else:
                found = _IN_GIT[each](text, repository, scratch) if repository else outside
            if isinstance(found, Target):
                yield replace(found, store=Store(repository.state) if repository else None)
                return
            why_not.append(found)
    reasons = "; ".join(dict.fromkeys(why_not))
    raise UsageError(f"{text!r} can't be verified: {reasons}", _near(text, repository))


def _op(text: str, repository: Repository, scratch: Path) -> Target | str:
    if text not in repository.ops():
        return "it's no op of the library"
    return _on_disk(text, Kind.OP, repository.root, [text])


def _run(text: str, repository: Repository, scratch: Path) -> Target | str:
    """A run's worktree; once that is gone, the commit it became."""
    store = Store(repository.state)
    if not text or not any(run.id.startswith(text) for run in store.all()):
        return "it's no run"
    run = store.find(text)
    root = repository.worktree(run.id)
    if (root / op_paths(run.op)[0]).is_dir():
        target = _on_disk(text, Kind.RUN, root, [run.op], partial(rules.spec_of_run, run, root))
        return replace(target, run=run.id, facts=(run.id, run.state), base=run.base)
    commit = repository.commit(run.approval.commit) if run.approval else None
    if commit is None:
        raise RunError(f"run {run.id} has no files to verify", f"workbench show {run.id}")
    found = Range(repository, run.base, commit, "where the run began")
    target = _written_out(text, Kind.RUN, found, scratch, partial(rules.spec_of_run, run, scratch))
    return replace(target, run=run.id, ops=(run.op,), facts=(run.id, *target.facts[1:]))


def _folder(text: str, repository: Repository | None, scratch: Path) -> Target | str:
    """An op's folder, one with a library, or one with nothing but an op's files."""
    path, library = Path(text).resolve(), Path(LIBRARY).parts
    if not text or not path.is_dir():
        return "it's a file, not a folder" if text and path.is_file() else "it's no folder"
    if path.parent.parts[-2:] == library and (path / "spec.py").exists():
        return _on_disk(text, Kind.FOLDER, path.parents[2], [path.name])
    root = path.parents[1] if path.parts[-2:] == library else path
    if ops := ops_in(root):
        return _on_disk(text, Kind.FOLDER, root, ops)
    if all((path / name).exists() for name in NEEDED):
        op = stage(path, repository, scratch)
        confirmed = partial(rules.spec_of_catalogue, scratch)
        return _on_disk(text, Kind.FOLDER, scratch, [op], confirmed)
    return "the folder of that name holds no op"


def _range(text: str, repository: Repository, scratch: Path) -> Target | str:
    found = ranges.find(repository, text)
    if isinstance(found, str):
        return found
    spec = partial(rules.spec_stands, found.old_specs(), scratch)
    return _written_out(text, Kind.GIT, found, scratch, spec)


_IN_GIT: dict[Kind, Callable[[str, Repository, Path], Target | str]] = {
    Kind.OP: _op,
    Kind.RUN: _run,
    Kind.GIT: _range,
}


def _on_disk(text: str, kind: Kind, root: Path, ops: Sequence[str], *more: Rule) -> Target:
    return Target(text=text, kind=kind, root=root, ops=tuple(ops), rules=more, facts=(text,))


def _written_out(text: str, kind: Kind, found: Range, scratch: Path, spec: Rule) -> Target:
    """The head of a range, as files below `scratch`."""
    found.export(scratch)
    return Target(
        text=text,
        kind=kind,
        root=scratch,
        ops=found.changes.ops,
        rules=(
            partial(rules.plain_files, found),
            partial(rules.judged_as_before, found.changes),
            spec,
            partial(rules.evidence_fits, scratch),
        ),
        facts=(text, f"{found.base[:10]}..{found.head[:10]}", f"from {found.since}"),
        base=found.base,
        head=found.head,
        changes=found.changes,
    )


def _near(text: str, repository: Repository | None) -> str:
    """What could have been meant."""
    if repository is None:
        return "give an op's folder, or change to a clone of the library"
    runs = [run.id for run in Store(repository.state).all()]
    names = dict.fromkeys([*repository.ops(), *runs, *repository.branches()])
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return "workbench ops lists the ops, workbench runs the runs, git branch --all the branches"
