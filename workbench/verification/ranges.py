"""A git range: where it begins and ends, and its files written out without a checkout.

Files are read object by object: no hook, filter or attribute of the range has a say, and nothing
but plain files is ever written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workbench.errors import RepositoryError, UsageError
from workbench.layout import LIBRARY, op_paths
from workbench.repository import Entry, Repository
from workbench.runs.store import storage_errors
from workbench.verification.changes import Changes, Tree

# No file of an op is larger; what is needn't be read to be refused.
MOST_BYTES = 1 << 22
_WRITTEN = (f"{LIBRARY}/", "tests/kernels/")
_DEFAULTS = (
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
)


@dataclass(frozen=True)
class Range:
    """From the commit `base` to `head`. `since` says what the base is."""

    repository: Repository
    base: str
    head: str
    since: str

    @cached_property
    def changes(self) -> Changes:
        """What it changes."""
        return Changes(self.repository.tree(self.base), self.repository.tree(self.head))

    def read(self, paths: list[str]) -> dict[str, bytes]:
        """The contents of files of the head."""
        return self._read(self.changes.head, paths)

    def old_specs(self) -> dict[str, bytes]:
        """The base's spec of every op to judge that was there already."""
        tree = self.changes.base
        specs = {op: f"{op_paths(op)[0]}/spec.py" for op in self.changes.ops}
        found = self._read(
            tree, [path for path in specs.values() if path in tree and tree[path].is_file]
        )
        return {op: found[path] for op, path in specs.items() if path in found}

    def export(self, folder: Path) -> None:
        """Write the head's library and its ops' tests below `folder`.

        Raises:
            RepositoryError: a path that no checkout has, such as one with `..` in it.
            StorageError: it can't be written.
        """
        paths = [p for p, e in self.changes.head.items() if p.startswith(_WRITTEN) and is_plain(e)]
        for path, data in self.read(paths).items():
            if {"", ".", "..", ".git"} & set(path.split("/")):
                raise RepositoryError(f"{self.head[:10]} holds {path}, which is no path of a file")
            target = folder / path
            with storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)

    def _read(self, tree: Tree, paths: list[str]) -> dict[str, bytes]:
        blobs = self.repository.blobs([tree[path].object for path in paths])
        return dict(zip(paths, blobs, strict=True))


def is_plain(entry: Entry) -> bool:
    """Whether it's a file that may be read: no link, no submodule, not too large."""
    return entry.is_file and entry.size <= MOST_BYTES


def find(repository: Repository, text: str) -> Range | str:
    """The range `A..B`, `A...B`, or from the default branch to a single revision; or why not.

    A range begins where its sides parted: what the left one gained since isn't the right one's
    doing.

    Raises:
        UsageError: a single revision, and git names no default branch to compare it with.
        RepositoryError: the sides have nothing in common.
    """
    left, dots, right = text.partition("..")
    old, new = (left or "HEAD", right.removeprefix(".") or "HEAD") if dots else ("", text)
    head = repository.commit(new)
    if head is None:
        return f"git knows no revision {new!r}"
    old = old or _default_branch(repository)
    start = repository.commit(old)
    if start is None:
        return f"git knows no revision {old!r}"
    return Range(repository, repository.merge_base(start, head), head, f"where {new} left {old}")


def _default_branch(repository: Repository) -> str:
    for name in _DEFAULTS:
        if repository.commit(name):
            return name.removeprefix("refs/remotes/").removeprefix("refs/heads/")
    raise UsageError(
        "git names no default branch: no origin/HEAD, no main, no master",
        "say what to compare with: workbench verify BASE..HEAD",
    )
