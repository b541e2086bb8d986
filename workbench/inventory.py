"""The library at a glance: each op's tier, how exact it is, and how near its floor, as the newest
records of exactly its present files say, committed beside it or kept here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.bench.contest import Direction
from workbench.bench.export import Row, measured, rows
from workbench.evidence import Evidence
from workbench.evidence.archive import Archive
from workbench.judge.verdict import Verdict
from workbench.layout import op_paths
from workbench.repository import Repository, content

Range = tuple[float, float]
_IMPOSSIBLE = 1.5  # share of the floor: the other direction did the work


@dataclass(frozen=True)
class Judged:
    """How an op was judged: on which GPU, or in the interpreter on a CPU, and the worst error over
    eager's and 2 ulps.
    """

    on: str
    passed: bool
    error: float | None


@dataclass(frozen=True)
class Timed:
    """What was measured on which GPU: the share of the floor by direction, from the smallest to the
    largest over `sizes`; at `lost` of them a peer is faster. Only both directions together have a
    share where the forward computes gradients, too.
    """

    on: str
    shares: Mapping[Direction, Range]
    sizes: int
    lost: int


@dataclass(frozen=True)
class Entry:
    """An op, its formula, and what is known of it; `committed`: everybody who has the library has
    the records too.
    """

    op: str
    tier: int | None
    formula: str
    judged: Judged | None
    timed: Timed | None
    committed: bool


def inventory(repository: Repository, archive: Archive) -> list[Entry]:
    """What is known of each op of the library.

    Raises:
        EvidenceError: records were changed.
    """
    return [_entry(repository.root, op, archive) for op in repository.ops()]


def _entry(root: Path, op: str, archive: Archive) -> Entry:
    present, folder = content(root, op), root / op_paths(op)[0]
    known = [e for e in archive.of_op(op) if not present.changes(e.files)]
    verdict, measurement = _verdict(known), _measurement(known)
    shown = {e.id for e in (verdict, measurement) if e is not None}
    return Entry(
        op=op,
        tier=_tier(folder / "spec.py"),
        formula=_title(folder / "kernel.py").removeprefix(f"{op}: "),
        judged=None if verdict is None else _judged(verdict),
        timed=None if measurement is None else _timed(measurement),
        committed=bool(shown) and shown <= {e.id for e in archive.committed(op)},
    )


def _verdict(known: Iterable[Evidence]) -> Evidence | None:
    """The newest whole verdict, one from a GPU first."""
    whole = [e for e in known if e.kind == "verification" and not e.data.get("partial")]
    return max(whole, key=lambda e: (not e.data.get("interpreted"), e.created), default=None)


def _measurement(known: Iterable[Evidence]) -> Evidence | None:
    """The newest measurement."""
    timed = (e for e in known if e.kind == "measurement")
    return max(timed, key=lambda e: e.created, default=None)


def _judged(evidence: Evidence) -> Judged:
    verdict = Verdict.model_validate({"op": evidence.op, "seed": 0, **evidence.data})
    where = "CPU" if verdict.interpreted else verdict.device
    return Judged(where, evidence.passed, max(verdict.errors.values(), default=None))


def _timed(evidence: Evidence) -> Timed:
    measurement, ours = measured(evidence), [row for row in rows(evidence) if row.is_ours]
    ways: tuple[Direction, ...] = ("forward", "backward")
    found = {way: _range(ours, way) for way in ways}
    shares = {way: share for way, share in found.items() if share is not None}
    lost, together = measurement.lost, _range(ours, "both")
    if together is not None and any(most > _IMPOSSIBLE for _, most in shares.values()):
        shares, lost = {"both": together}, sum("both" in p.lost() for p in measurement.points)
    return Timed(measurement.device, shares, len(measurement.points), lost)


def _range(ours: Iterable[Row], way: Direction) -> Range | None:
    """The smallest and the largest share of the floor."""
    shares = [r.floor_share for r in ours if r.direction == way and r.floor_share is not None]
    return (min(shares), max(shares)) if shares else None


def _tier(spec: Path) -> int | None:
    """The tier that a spec declares, read without running it."""
    for node in ast.walk(_parsed(spec)):
        if isinstance(node, ast.keyword) and node.arg == "tier":
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            return value if isinstance(value, int) else None
    return None


def _title(file: Path) -> str:
    """The first line of a module's text."""
    return (ast.get_docstring(_parsed(file)) or "").partition("\n")[0]


def _parsed(file: Path) -> ast.Module:
    """A file that the judge may not have seen; nothing if it is no Python."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
