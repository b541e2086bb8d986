"""Every record there is, in the library of the checkout and in the run store, and its files."""

from __future__ import annotations

from functools import cached_property

from workbench.errors import EvidenceError
from workbench.evidence import Evidence
from workbench.evidence.document import Document, documented, recorded
from workbench.layout import owner
from workbench.repository import Content, Repository, content, content_of
from workbench.runs.store import Store

# So many digits of a record's id, at least, stand for it.
LEAST_DIGITS = 8
# The kinds of records that are about speed, what says most of it last.
SPEED = ("compilation", "measurement")


class Archive:
    """The records of one repository."""

    def __init__(self, repository: Repository, store: Store) -> None:
        self.repository, self._store = repository, store

    @property
    def damaged(self) -> dict[str, str]:
        """What is wrong with the documents of the library, by their paths."""
        return self._library[1]

    def find(self, begins: str) -> Evidence:
        """The record whose id begins so.

        Raises:
            EvidenceError: there is none, or there are several.
        """
        stored = self._store.evidence(begins=begins)
        records = {e.id: e for e in (*self._committed.values(), *stored) if e.id.startswith(begins)}
        if len(records) != 1:
            how_many = "several records" if records else "no record"
            raise EvidenceError(f"there is {how_many} {begins}")
        return next(iter(records.values()))

    def about(self, name: str) -> list[Evidence]:
        """The records of an op of the library, the newest of each kind of a run, or the one whose
        id begins so.

        Raises:
            RunError: none of that name.
            EvidenceError: there are none, or they were changed.
        """
        if name in self.repository.ops():
            return list(Document.load(self.repository.root, name).evidence)
        if len(name) >= LEAST_DIGITS and self._store.evidence(begins=name):
            return [self.find(name)]
        run = self._store.find(name)
        newest = {evidence.kind: evidence for evidence in self._store.evidence(run=run.id)}
        if not newest:
            raise EvidenceError(
                f"run {run.id} has no evidence: nothing was verified yet",
                f"workbench resume {run.id}",
            )
        files = newest.get("verification", next(iter(newest.values()))).files
        return [evidence for evidence in newest.values() if evidence.files == files]

    def speed(self, name: str) -> Evidence:
        """What is known of speed: of an op of the library, of a run, or by a record whose id begins
        so. That is the newest measurement, of an op's files as they are now; where nothing was
        timed, the newest compilation.

        Raises:
            RunError: none of that name.
            EvidenceError: there is nothing, it is of other files, or records were changed.
        """
        is_op = name in self.repository.ops()
        found = [e for e in (self.of_op(name) if is_op else self.about(name)) if e.kind in SPEED]
        again = f"workbench bench {name}"
        if not found:
            raise EvidenceError(f"nothing was measured of {name}, nor compiled", again)
        present = content(self.repository.root, name) if is_op else None
        fresh = [e for e in found if present is None or not present.changes(e.files)]
        if present is not None and not fresh:
            changed = "; ".join(present.changes(found[-1].files))
            raise EvidenceError(f"{name} is not what was measured any more: {changed}", again)
        return sorted(fresh, key=lambda e: (SPEED.index(e.kind), e.created))[-1]

    def of_op(self, op: str) -> list[Evidence]:
        """The records of an op, those of the library and those kept here; each once.

        Raises:
            EvidenceError: they were changed.
        """
        kept = self._store.evidence(op=op)
        return list({e.id: e for e in (*self.committed(op), *kept)}.values())

    def committed(self, op: str) -> list[Evidence]:
        """The records of an op that are in the library.

        Raises:
            EvidenceError: they were changed.
        """
        root = self.repository.root
        return [*Document.load(root, op).evidence] if op in documented(root) else []

    def changes(self, evidence: Evidence) -> list[str]:
        """What became of the files that a record is about, one phrase each; none if nothing did.

        They are looked for in the checkout, first in the run's worktree if the library's evidence
        is another; a commit whose op is not in the checkout yet can't change.
        """
        root, own = self.repository.root, owner(evidence.op, evidence.files)
        runs = [self._store.get(id_) for id_ in self._store.runs_with(evidence.id)]
        worktrees = [self.repository.worktree(run.id) for run in runs]
        places = [root] if evidence.id in self._committed else [*worktrees, root]
        here = (content_of(place, own) for place in places)
        present = next(filter(lambda found: found.files, here), None)
        if present is None:
            approved = (run.approval.evidence for run in runs if run.approval is not None)
            if evidence.commit or any(evidence.id in ids for ids in approved):
                return []
        return (present or Content({})).changes(evidence.files)

    @property
    def _committed(self) -> dict[str, Evidence]:
        return self._library[0]

    @cached_property
    def _library(self) -> tuple[dict[str, Evidence], dict[str, str]]:
        """The records of the library by id, and what is wrong with those documents that are not
        intact.
        """
        found, damaged = dict[str, Evidence](), dict[str, str]()
        for subject in recorded(self.repository.root):
            try:
                document = Document.load_of(self.repository.root, subject)
            except EvidenceError as error:
                damaged[subject.evidence] = str(error)
            else:
                found.update({evidence.id: evidence for evidence in document.evidence})
        return found, damaged
