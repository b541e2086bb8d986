"""What is known of an op's speed as files: a page, rows, plots; all from one record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.bench import export, page
from workbench.evidence import Evidence
from workbench.evidence.archive import Archive


@dataclass(frozen=True)
class Wanted:
    """Where to write what: a page, rows (JSON if its name ends so, else CSV), a folder of plots."""

    html: Path | None = None
    rows: Path | None = None
    svg: Path | None = None

    def __bool__(self) -> bool:
        return any(path is not None for path in (self.html, self.rows, self.svg))


@dataclass(frozen=True)
class Shown:
    """The record that was shown, and the files it was written to."""

    evidence: Evidence
    files: Sequence[Path]

    @property
    def data(self) -> dict[str, Any]:
        """The same for a program, and the rows."""
        return {
            "op": self.evidence.op,
            "record": self.evidence.id,
            "files": list(map(str, self.files)),
            "rows": export.as_data(self.evidence),
        }


def show(archive: Archive, name: str, wanted: Wanted) -> Shown:
    """Write what is wanted of what is known of the speed of an op, of a run, or by a record.

    Raises:
        RunError: none of that name.
        EvidenceError: nothing was measured, or it was of other files.
        StorageError: a file can't be written.
    """
    evidence = archive.speed(name)
    files = dict[Path, str]()
    if wanted.html is not None:
        files[wanted.html] = page.page(evidence, archive.changes(evidence))
    if wanted.rows is not None:
        files[wanted.rows] = _rows(evidence, wanted.rows)
    if wanted.svg is not None:
        images = page.images(evidence)
        files |= {wanted.svg / image: text for image, text in images.items()}
    page.save(files)
    return Shown(evidence, list(files))


def _rows(evidence: Evidence, file: Path) -> str:
    if file.suffix.lower() != ".json":
        return export.as_csv(evidence)
    return json.dumps(export.as_data(evidence), indent=1, ensure_ascii=False) + "\n"
