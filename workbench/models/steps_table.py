"""The training steps that are committed beside the patching rules, and the table of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from workbench.errors import EvidenceError
from workbench.generated import markdown_table, replaced
from workbench.layout import LIBRARY
from workbench.models.steps import PLAIN, Steps, Timed

PATH = f"{LIBRARY}/patching/steps.json"
BEGIN, END = "<!-- steps: begin -->", "<!-- steps: end -->"
EMPTY = "No step of a model has been recorded yet, so there is no number to show."
_ALL = TypeAdapter(tuple[Steps, ...])
_HEAD = ("trained by", "a step", "tokens a second", f"over {PLAIN}", "peak")


def load(root: Path) -> tuple[Steps, ...]:
    """What is committed.

    Raises:
        EvidenceError: it can't be read.
    """
    path = root / PATH
    if not path.exists():
        return ()
    try:
        return _ALL.validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        hint = f"git checkout -- {PATH}"
        raise EvidenceError(f"{PATH} has no training steps: {error}", hint) from error


def table(records: Sequence[Steps]) -> str:
    """A row for each contender of each record; a sentence if there is none."""
    if not records:
        return f"{EMPTY}\n"
    each = [[*about(record), *row.values()] for record in records for row in rows(record)]
    lines = markdown_table(["model", "GPU", *_HEAD], each)
    notes = [f"\n{_note(record)}" for record in records]
    return "\n".join([*lines, *notes]) + "\n"


def about(record: Steps) -> list[str]:
    """What was trained, and where."""
    setting = record.setting
    return [f"{setting.type}, {setting.rows} x {setting.tokens} tokens", record.device]


def name(timed: Timed) -> str:
    """Who trained, and what its checkpoints kept."""
    who = f"{timed.trainer} {timed.version}".strip()
    return f"{who}, {timed.kept / 2**30:g} GiB of attention kept" if timed.kept else who


def rows(record: Steps) -> Iterator[dict[str, str]]:
    """One record, a contender each; where one has a problem, that."""
    setting = record.setting
    for timed in record.timed:
        cells = [name(timed)]
        gain = record.gain(timed)
        if timed.seconds:
            speed = setting.rows * setting.tokens / timed.median
            cells += [
                f"{timed.median:.3f} s",
                f"{speed:.0f}",
                "" if gain is None else f"{gain:.3f}",
            ]
            cells += [f"{timed.peak / 2**30:.2f} GiB"]
        else:
            cells += [timed.problem, "", "", ""]
        yield dict(zip(_HEAD, cells, strict=True))


def updated(text: str, records: Sequence[Steps], file: str) -> str:
    """The document with this table in the place of what it had.

    Raises:
        UsageError: it has no such place, or several.
    """
    return replaced(text, BEGIN, END, table(records), file)


def write(root: Path, record: Steps) -> list[str]:
    """Keep it below `root`, instead of one of the same model on the same GPU, with the table in the
    README; which files that wrote.
    """
    others = [one for one in load(root) if _key(one) != _key(record)]
    records = tuple(sorted([*others, record], key=_key))
    (root / PATH).write_bytes(_ALL.dump_json(records, indent=1) + b"\n")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(updated(text, records, readme.name), encoding="utf-8")
    return [PATH, readme.name]


def _key(record: Steps) -> tuple[str, str]:
    return record.setting.model_dump_json(), record.device


def _note(record: Steps) -> str:
    setting = record.setting
    config = ", ".join(f"{name} {value}" for name, value in setting.config.items())
    made = record.workbench.get("commit", record.workbench["version"])[:12]
    counts = {len(timed.seconds) for timed in record.timed if timed.seconds}
    steps = f"medians of {max(counts)} steps" if counts else "nothing ran"
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    about = f"{setting.type} with {config}" if config else setting.type
    return f"{about}: {steps}, bfloat16, AdamW, gradient checkpointing; {versions}; at {made}."
