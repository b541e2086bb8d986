"""`evidence.json`: what was seen of exactly the files beside it, committed together with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import layout
from workbench.errors import EvidenceError
from workbench.evidence import Evidence, canonical
from workbench.layout import EVIDENCE, LIBRARY, RECIPES, Subject
from workbench.repository import Content, content_of


@dataclass(frozen=True)
class Document:
    """The files of an op or a recipe, path to SHA-256, and the records about them."""

    op: str
    files: Mapping[str, str]
    evidence: Sequence[Evidence]

    @classmethod
    def of(cls, op: str, present: Content, evidence: Sequence[Evidence]) -> Document:
        """The document of an op's content: a verification that passed, and what else was seen.

        Raises:
            EvidenceError: there is none, or a record did not pass or is not of this content.
        """
        for record in evidence:
            changes = present.changes(record.files)
            if record.op != op or changes:
                other = "; ".join(changes) or f"it is of {record.op}"
                raise EvidenceError(
                    f"the {record.kind} {record.id[:12]} is not of these files: {other}"
                )
            if not record.passed:
                raise EvidenceError(f"the {record.kind} {record.id[:12]} did not pass")
        if not any(record.kind == "verification" for record in evidence):
            raise EvidenceError("there is no evidence of a verification")
        return cls(op, present.digests, evidence)

    @classmethod
    def gathered(cls, op: str, present: Content, records: Sequence[Evidence]) -> Document:
        """The document of an op's content from all records there are: the newest verdict that
        passed, one from a GPU first; the newest measurement of each GPU, or else the newest
        compilation.

        Raises:
            EvidenceError: no verdict of this content passed.
        """
        known = [e for e in records if e.op == op and not present.changes(e.files) and e.passed]
        by_age = sorted(known, key=lambda e: e.created)
        verdicts = [e for e in by_age if e.kind == "verification"]
        if not verdicts:
            raise EvidenceError(
                f"no verdict of {op} as it is now is kept here", f"workbench verify {op}"
            )
        verdict = max(verdicts, key=lambda e: (not e.data.get("interpreted"), e.created))
        timed = {str(e.data.get("device")): e for e in by_age if e.kind == "measurement"}
        compiled = [e for e in by_age if e.kind == "compilation"][-1:]
        return cls.of(op, present, [verdict, *(timed.values() or compiled)])

    def dump(self) -> str:
        """The one text of it: any other, be it by a space, is not as the engine wrote it."""
        records = [evidence.record for evidence in self.evidence]
        document = {"op": self.op, "files": dict(self.files), "evidence": records}
        return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, root: Path, op: str) -> Document:
        """The op's document below `root`.

        Raises:
            EvidenceError: it has none, or it is not as the engine wrote it.
        """
        return cls.load_of(root, layout.op(op))

    @classmethod
    def load_of(cls, root: Path, subject: Subject) -> Document:
        """The document of an op or a recipe below `root`.

        Raises:
            EvidenceError: it has none, or it is not as the engine wrote it.
        """
        path, op = subject.evidence, subject.name
        restore = f"restore it: git checkout -- {path}; or verify the op again"
        try:
            text = (root / path).read_bytes().decode()
            given: dict[str, Any] = json.loads(text)
            records = [_read(record) for record in given["evidence"]]
            document = cls(given["op"], given["files"], records)
        except FileNotFoundError as error:
            raise EvidenceError(f"{op} has no evidence: {path} is missing") from error
        except EvidenceError as error:
            raise EvidenceError(f"{path}: {error}", error.hint) from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise EvidenceError(f"{path} can't be read as evidence: {error}", restore) from error
        about = all(e.op == op and dict(e.files) == dict(document.files) for e in records)
        if document.op != op or not about:
            raise EvidenceError(f"{path} holds records about another op or other files", restore)
        if document.dump() != text:
            raise EvidenceError(f"{path} was edited", restore)
        return document


def problems(root: Path) -> dict[str, str]:
    """What is wrong with the evidence below `root`, by the path of its document.

    The files of an op or a recipe must be those that its document is about.
    """
    found = {}
    for subject in recorded(root):
        path = subject.evidence
        try:
            changes = content_of(root, subject).changes(Document.load_of(root, subject).files)
        except EvidenceError as error:
            found[path] = str(error)
        else:
            if changes:
                found[path] = f"{path} is about other files: {'; '.join(changes)}"
    return found


def documented(root: Path) -> list[str]:
    """The ops below `root` that have evidence."""
    return sorted(p.parent.name for p in (root / LIBRARY).glob(f"*/{EVIDENCE}"))


def recorded(root: Path) -> list[Subject]:
    """The ops and the recipes below `root` that have evidence."""
    recipes = sorted(p.parent.name for p in (root / RECIPES).glob(f"*/{EVIDENCE}"))
    return [*map(layout.op, documented(root)), *map(layout.recipe, recipes)]


def _read(record: Mapping[str, Any]) -> Evidence:
    rest = {key: value for key, value in record.items() if key != "id"}
    return Evidence.read(canonical(rest), str(record.get("id", "")))
