"""`workbench bench --compare OLD..NEW`: one op at two git revisions, timed in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from workbench.bench.entrant import Rival
from workbench.bench.measurement import OURS
from workbench.errors import UsageError
from workbench.repository import Repository, ops_in
from workbench.verification.ranges import Range

_SHORT = 10


@dataclass(frozen=True)
class Revisions:
    """Two commits, and where the library of each is written out."""

    old: str
    new: str
    old_root: Path
    new_root: Path

    def rivals(self, op: str) -> list[Rival]:
        """The op as it is in the new one, and as it was in the old one.

        Raises:
            UsageError: one of them has no such op.
        """
        for commit, root in ((self.old, self.old_root), (self.new, self.new_root)):
            if op not in ops_in(root):
                raise UsageError(
                    f"{commit[:_SHORT]} has no op {op!r}", "both revisions must have it"
                )
        return [Rival(OURS, "op"), Rival(f"at {self.old[:_SHORT]}", "op", root=self.old_root)]


@contextmanager
def revisions(repository: Repository, text: str) -> Iterator[Revisions]:
    """The revisions that `OLD..NEW` names, read out of git, never checked out; an empty side is
    HEAD.

    Raises:
        UsageError: it is no pair of revisions, or git does not know one.
        RepositoryError: git can't say.
        StorageError: the files can't be written.
    """
    old, dots, new = text.partition("..")
    if not dots or new.startswith("."):
        raise UsageError(f"{text!r} is no pair of revisions", "as in v1.2..HEAD")
    before, after = (_commit(repository, side or "HEAD") for side in (old, new))
    with TemporaryDirectory(prefix="workbench-compare-") as folder:
        scratch = Path(folder).resolve()
        found = Revisions(before, after, scratch / "old", scratch / "new")
        Range(repository, before, before, old).export(found.old_root)
        Range(repository, after, after, new).export(found.new_root)
        yield found


def _commit(repository: Repository, revision: str) -> str:
    commit = repository.commit(revision)
    if commit is None:
        raise UsageError(f"git knows no revision {revision!r}", "git branch --all lists them")
    return commit
