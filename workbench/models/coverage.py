"""The coverage that is committed beside the patching rules, and the table of it in a document."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from workbench.errors import EvidenceError
from workbench.generated import markdown_table, replaced
from workbench.layout import LIBRARY
from workbench.models import Coverage, Standing

PATH = f"{LIBRARY}/patching/coverage.json"
BEGIN, END = "<!-- models: begin -->", "<!-- models: end -->"
MEANINGS: dict[Standing, str] = {
    "whole": "the loss, and every module that was found",
    "loss": "the loss, and some of the modules",
    "parts": "modules, but not the loss",
    "none": "nothing",
    "wrong": "not the same with it",
    "not built": "no tiny model of it runs",
}


def load(root: Path) -> Coverage:
    """What is committed.

    Raises:
        EvidenceError: nothing is, or it is no coverage.
    """
    try:
        return Coverage.model_validate_json((root / PATH).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EvidenceError(f"{PATH} is missing", "workbench models --all --write") from error
    except ValidationError as error:
        raise EvidenceError(f"{PATH} is no coverage: {error}", f"git checkout -- {PATH}") from error


def dump(coverage: Coverage) -> str:
    """Its one text."""
    return coverage.model_dump_json(indent=1) + "\n"


def table(coverage: Coverage) -> str:
    """How many types stand how, and which."""
    versions = ", ".join(f"{name} {number}" for name, number in coverage.versions.items())
    each = [(meaning, coverage.of(standing)) for standing, meaning in MEANINGS.items()]
    lines = markdown_table(
        ("served", "types", "which"),
        [
            (meaning, str(len(rows)), " ".join(f"`{row.type}`" for row in rows))
            for meaning, rows in each
        ],
    )
    where = "in the interpreter" if coverage.device == "interpreter" else f"on {coverage.device}"
    note = f"Of {len(coverage.rows)} types, seen {where} with {versions}."
    return "\n".join([*lines, "", note]) + "\n"


def updated(text: str, coverage: Coverage, file: str) -> str:
    """The document with this table in the place of what it had.

    Raises:
        UsageError: it has no such place, or several.
    """
    return replaced(text, BEGIN, END, table(coverage), file)


def write(root: Path, coverage: Coverage) -> list[str]:
    """Keep it below `root`, with its table in the README; which files that wrote."""
    (root / PATH).write_text(dump(coverage), encoding="utf-8")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(updated(text, coverage, readme.name), encoding="utf-8")
    return [PATH, readme.name]
