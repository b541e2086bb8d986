"""The performance table of a document, between two comments: written from the library's committed
evidence, and the same text whenever it is written again, so that a test can hold it against that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from workbench.bench.export import Row, measured, rows
from workbench.bench.measurement import OURS, Measurement
from workbench.errors import EvidenceError, UsageError
from workbench.evidence import Evidence
from workbench.evidence.document import Document, documented, problems
from workbench.evidence.markdown import escape
from workbench.generated import markdown_table, replaced

BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
EMPTY = "No op of the library has been measured yet, so there is no number to show."
_HEAD = (
    "op", "GPU", "dtype", "sizes", "a peer is faster at", "direction", "of the floor",
    "eager over it", "fastest peer over it", "record",
)  # fmt: skip
_NOTE = (
    "From the smallest to the largest over all sizes. “Over it” is a peer's time over the op's: "
    "below 1 the peer is faster. Where it is faster in a direction by itself, that is named: the "
    "forward of some losses computes their gradients, too. Where most is lost comes first."
)


def table(root: Path) -> str:
    """The table of the library below `root`, one row for each op and GPU; a sentence if nothing was
    measured.

    Raises:
        EvidenceError: evidence was changed, or is about other files.
    """
    for problem in problems(root).values():
        raise EvidenceError(problem, "restore it with git, or verify and measure the op again")
    newest = [record for op in documented(root) for record in _newest(Document.load(root, op))]
    if not newest:
        return f"{EMPTY}\n"
    lines = markdown_table(_HEAD, map(_row, sorted(newest, key=_losses)))
    return "\n".join([*lines, "", _NOTE]) + "\n"


def updated(text: str, table: str, file: str) -> str:
    """The document with this table in the place of what it had.

    Raises:
        UsageError: it has no such place, or several.
    """
    return replaced(text, BEGIN, END, table, file)


def update(file: Path, root: Path, *, check: bool) -> bool:
    """Write the table into a document; whether that changed it. With `check`, only look.

    Raises:
        UsageError: the document can't be read or written, or has no place for the table.
        EvidenceError: evidence was changed; with `check`, the document has another table.
    """
    try:
        text = file.read_text(encoding="utf-8")
        new = updated(text, table(root), str(file))
        if new != text and check:
            raise EvidenceError(
                f"the performance table of {file} is not what the evidence says",
                f"workbench performance {file}",
            )
        if new != text:
            file.write_text(new, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} can't be used: {error}", "workbench performance FILE") from error
    return new != text


def _newest(document: Document) -> Iterable[Evidence]:
    """The newest measurement of each GPU."""
    found = (record for record in document.evidence if record.kind == "measurement")
    by_age = sorted(found, key=lambda record: record.created)
    return {str(record.data.get("device")): record for record in by_age}.values()


def _losses(evidence: Evidence) -> tuple[float, str, str]:
    """What sorts the records: the share of sizes that are lost, largest first."""
    measurement = measured(evidence)
    return -measurement.lost / max(1, len(measurement.points)), evidence.op, measurement.device


def _row(evidence: Evidence) -> list[str]:
    measurement = measured(evidence)
    timed = [row for row in rows(evidence) if row.time_median_seconds is not None]
    ours = [row for row in timed if row.contender == OURS]
    way = next((way for way in ("both", "forward") if any(r.direction == way for r in ours)), "")
    compared = [row for row in timed if row.direction == way and not row.is_ours]
    return [
        f"`{evidence.op}`",
        escape(measurement.device),
        ", ".join(sorted({point.dtype for point in measurement.points})),
        str(len(measurement.points)),
        _lost(measurement, way),
        "forward + backward" if way == "both" else way,
        _range([row.floor_share for row in ours if row.direction == way]),
        _range([row.time_over_ours_median for row in compared if row.contender == "eager"]),
        _range(_fastest(compared)),
        f"`{evidence.id[:12]}`",
    ]


def _lost(measurement: Measurement, way: str) -> str:
    """At how many sizes a peer is faster, and at how many in each other direction by itself."""
    counts = Counter[str](lost for point in measurement.points for lost in point.lost())
    own = counts.pop(way, 0)
    others = ", ".join(f"{other} {count}" for other, count in sorted(counts.items()))
    return f"{own} ({others})" if others else str(own)


def _fastest(compared: Sequence[Row]) -> list[float]:
    """At each size, the time of the fastest peer over the op's."""
    found = dict[tuple[int, int, str], float]()
    for row in compared:
        size, over = (row.rows, row.cols, row.dtype), row.time_over_ours_median
        if over is not None:
            found[size] = min(over, found.get(size, over))
    return list(found.values())


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.2f} – {max(known):.2f}" if known else "–"
