"""What a range changes, decided from two listings of paths alone: no git, no files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from workbench.judge.stage import TRUSTED
from workbench.layout import LIBRARY, op_paths
from workbench.repository import Entry

Tree = Mapping[str, Entry]

# The judge brings copies of its own: a range that changes these is judged as if it did not.
_TRUSTED = {f"{LIBRARY}/{name}" for name in TRUSTED}
_JUDGING = {*_TRUSTED, "Makefile", "pyproject.toml", "setup.py", "constraints.txt"}
_JUDGING_FOLDERS = ("workbench/", "tiers/", "workflows/", ".ci/", ".github/")


@dataclass(frozen=True)
class Changes:
    """The difference of two trees, by what it means for the library."""

    base: Tree
    head: Tree

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Every path that was added, removed or changed, mode included."""
        both = self.base.keys() | self.head.keys()
        return tuple(sorted(p for p in both if self.base.get(p) != self.head.get(p)))

    @cached_property
    def ops(self) -> tuple[str, ...]:
        """The ops to judge: those touched, or all where a file they share was."""
        known = sorted(_ops(self.base) | _ops(self.head))
        there = [op for op in known if _stands(op_paths(op)[0], self.head)]
        if any(re.fullmatch(rf"{LIBRARY}/[^/]+\.py", p) and p not in _TRUSTED for p in self.paths):
            return tuple(there)
        return tuple(op for op in there if self._touches(op))

    @cached_property
    def deleted(self) -> tuple[str, ...]:
        """The base's ops that are gone."""
        gone = (op for op in _ops(self.base) if not _stands(op_paths(op)[0], self.head))
        return tuple(sorted(gone))

    @cached_property
    def judging_files(self) -> tuple[str, ...]:
        """The changed files that decide how ops are judged."""
        return tuple(
            path
            for path in self.paths
            if path in _JUDGING
            or path.startswith(_JUDGING_FOLDERS)
            or PurePosixPath(path).name == "conftest.py"
        )

    @cached_property
    def other_files(self) -> tuple[str, ...]:
        """The changed files that belong to no op."""
        owned = [path for op in (*self.ops, *self.deleted) for path in op_paths(op)]
        return tuple(p for p in self.paths if not any(_within(p, path) for path in owned))

    def _touches(self, op: str) -> bool:
        return any(_within(changed, path) for changed in self.paths for path in op_paths(op))


def _ops(tree: Tree) -> set[str]:
    """The library's folders with a spec, and what stands in such a folder's place: a link, say."""
    names = set()
    for path, entry in tree.items():
        if not _within(path, LIBRARY) or path == LIBRARY:
            continue
        name, *inside = path.removeprefix(f"{LIBRARY}/").split("/")
        replaced = not inside and not entry.is_file and not name.endswith(".py")
        if replaced or inside == ["spec.py"]:
            names.add(name)
    return names


def _stands(folder: str, tree: Tree) -> bool:
    """Whether anything is at, in, or in place of the folder or one that it lies in."""
    return any(_within(path, folder) or _within(folder, path) for path in tree)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
