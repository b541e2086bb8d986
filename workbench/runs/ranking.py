"""Which of several attempts at one op is the best, by what was seen of each and by nothing else.

What ranks is evidence: the judge's verdict, the clock's or the compiler's report. What an author
says of its work is not read. Two attempts are told apart by the first criterion in which they
differ; one counts only where it is known of all of them and says the same of each. No time is
guessed: where it was not measured, on one kind of GPU and at the same sizes for all, none ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.bench import export
from workbench.bench.contest import Direction
from workbench.bench.measurement import OURS, Measurement, Point
from workbench.bench.static import StaticReport
from workbench.bench.statistics import OTHERWISE
from workbench.evidence import Evidence
from workbench.judge.verdict import Verdict
from workbench.runs import Run, State

# Those that reached the review come first, however a person decided; the rest by how far they are.
_REACHED = frozenset({State.REVIEW, State.APPROVED, State.COMMITTED})
_OTHERS = (State.OPEN, State.PARKED, State.FAILED, State.PROFILE, State.REJECTED, State.ABORTED)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What is known of one: the evidence that its review rests on, if it reached it. `content` is
    the hash of its files.
    """

    run: str
    number: int
    state: State
    content: str = ""
    verdict: Verdict | None = None
    measurement: Measurement | None = None
    report: StaticReport | None = None

    @property
    def reached(self) -> bool:
        """Whether it passed all that a person would be shown."""
        return self.state in _REACHED and self.verdict is not None and self.verdict.passed


def attempt_of(run: Run, evidence: Sequence[Evidence]) -> Attempt:
    """What the records of a run that its review rests on say of it.

    Raises:
        EvidenceError: one is none that this workbench knows.
    """
    review = run.latest("review")
    ids = review.evidence if review is not None else []
    found = {record.kind: record for record in evidence if record.id in ids}
    verdict, measurement = found.get("verification"), found.get("measurement")
    report = found.get("compilation")
    return Attempt(
        run=run.id,
        number=run.request.cohort.number if run.request.cohort is not None else 1,
        state=run.state,
        content=review.content if review is not None else "",
        verdict=None
        if verdict is None
        else Verdict.model_validate({"op": run.op, "seed": 0, **verdict.data}),
        measurement=None if measurement is None else export.measured(measurement),
        report=None if report is None else export.compiled(report),
    )


@dataclass(frozen=True)
class Criterion:
    """Something that attempts differ in, which counts where `how` it was found is the same for all.
    `value` is None where it is not known; the smaller one is better unless `more`; values within a
    share of `alike` of the best are as good as it.
    """

    name: str
    says: str
    how: Callable[[Attempt], object]
    value: Callable[[Attempt], float | None]
    shown: Callable[[float], str]
    more: bool = False
    alike: float = 0.0

    def best(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Those that none is better than."""
        values = {a.run: self.value(a) or 0.0 for a in attempts}
        top = (max if self.more else min)(values.values())
        near = self.alike * abs(top)
        return [a for a in attempts if values[a.run] == top or abs(values[a.run] - top) <= near]

    def cell(self, attempt: Attempt) -> str:
        """Its value, as it is shown."""
        value = self.value(attempt) if attempt.reached else None
        return "" if value is None else self.shown(value)


@dataclass(frozen=True)
class Ranking:
    """All attempts, the best first; by which criteria, in their order; and why the first is it."""

    attempts: tuple[Attempt, ...]
    criteria: tuple[Criterion, ...]
    why: str

    @property
    def timed(self) -> bool:
        """Whether times rank."""
        return any(criterion.how is _timed for criterion in self.criteria)

    @property
    def first(self) -> Attempt | None:
        """The best of those that reached the review."""
        return self.attempts[0] if self.attempts and self.attempts[0].reached else None


def rank(attempts: Sequence[Attempt]) -> Ranking:
    """The order of attempts, whatever order they are given in."""
    ordered = sorted(attempts, key=lambda attempt: attempt.number)
    reached = [attempt for attempt in ordered if attempt.reached]
    others = sorted(
        (attempt for attempt in ordered if not attempt.reached),
        key=lambda a: (_OTHERS.index(a.state) if a.state in _OTHERS else 0, a.number),
    )
    criteria = tuple(_counting(reached))
    best = list(_sorted(reached, criteria))
    return Ranking((*best, *others), criteria, _why(best, criteria))


def _sorted(attempts: Sequence[Attempt], criteria: Sequence[Criterion]) -> list[Attempt]:
    """The best by the first criterion, told apart by the others; then the best of the rest."""
    if len(attempts) < 2 or not criteria:
        return list(attempts)
    best = criteria[0].best(attempts)
    known = {attempt.run for attempt in best}
    rest = [attempt for attempt in attempts if attempt.run not in known]
    return [*_sorted(best, criteria[1:]), *_sorted(rest, criteria)]


def _why(best: Sequence[Attempt], criteria: Sequence[Criterion]) -> str:
    """Why the first one is first, in words."""
    if not best:
        return "none reached the review"
    first = best[0]
    if len(best) == 1:
        return f"{first.run} is first: no other reached the review"
    second, left = best[1], list(best)
    if first.content and first.content == second.content:
        return f"{first.run} is first: {second.run} has the very same files"
    for criterion in criteria:
        left = criterion.best(left)
        if second not in left:
            cells = f"{criterion.cell(first)} against {criterion.cell(second)} of {second.run}"
            return f"{first.run} is first: {criterion.says}, {cells}"
    return f"{first.run} is first: {second.run} is alike in all that counts, and began after it"


def _counting(attempts: Sequence[Attempt]) -> list[Criterion]:
    """The criteria that are known of all of these, in the order they count."""
    return [
        criterion
        for criterion in _CRITERIA
        if len({criterion.how(attempt) for attempt in attempts}) == 1
        and all(criterion.value(attempt) is not None for attempt in attempts)
    ]


def _timed(attempt: Attempt) -> object:
    """On what, and at which sizes in which directions."""
    found = attempt.measurement
    sizes = [(p.rows, p.cols, p.dtype, _way(p)) for p in found.points] if found is not None else []
    return None if found is None else (found.device, *sizes)


def _compiled(attempt: Attempt) -> object:
    """By what, and for what."""
    found = attempt.report
    return None if found is None else (found.triton, found.targets, found.dtypes)


def _judged(attempt: Attempt) -> object:
    """On what, and in which dtypes."""
    return None if attempt.verdict is None else (attempt.verdict.device, attempt.verdict.dtypes)


# What the criteria are of


def _way(point: Point) -> Direction | None:
    """The direction in which a size ranks: both together, where it has a backward."""
    ours = point.of(OURS)
    ways = ours.rounds if ours is not None else {}
    return "both" if "both" in ways else "forward" if "forward" in ways else None


def _floor_share(attempt: Attempt) -> float | None:
    """The geometric mean over all sizes of the floor's time over the op's."""
    points = attempt.measurement.points if attempt.measurement is not None else ()
    shares = []
    for point in points:
        ours, way = point.of(OURS), _way(point)
        if ours is None or way is None or way not in point.floors:
            return None
        shares.append(point.floors[way] / ours.times[way].median)
    return math.exp(sum(map(math.log, shares)) / len(shares)) if shares else None


def _lost(attempt: Attempt) -> float | None:
    found = attempt.measurement
    return None if found is None else found.lost


def _spills(attempt: Attempt) -> float | None:
    return attempt.report.spill_bytes if attempt.report and attempt.report.kernels else None


def _narrow(attempt: Attempt) -> float | None:
    """The accesses to global memory that are less than 16 bytes wide, in percent of all."""
    kernels = attempt.report.kernels if attempt.report is not None else ()
    known = [k for k in kernels if k.loads is not None and k.stores is not None]
    every = sum((k.loads or 0) + (k.stores or 0) for k in known)
    wide = sum((k.wide_loads or 0) + (k.wide_stores or 0) for k in known)
    return float(round(100 * (1 - wide / every))) if every else None


def _registers(attempt: Attempt) -> float | None:
    return attempt.report.registers if attempt.report and attempt.report.kernels else None


def _error(attempt: Attempt) -> float | None:
    """The worst error over eager's, up to the next tenth: each verdict draws values of its own."""
    errors = attempt.verdict.errors if attempt.verdict is not None else {}
    worst = max(errors.values(), default=None)
    if worst is None or not math.isfinite(worst):
        return worst
    return math.ceil(round(10 * worst, 6)) / 10


def _unnoticed(attempt: Attempt) -> float | None:
    """The wrong ops that its tests let through, in percent of those the judge knows to be wrong."""
    mutants = attempt.verdict.mutants if attempt.verdict is not None else ()
    fates = [mutant.fate for mutant in mutants if mutant.fate != "harmless"]
    return float(round(100 * fates.count("survived") / len(fates))) if fates else None


# In the order they count.
_CRITERIA = (
    Criterion(
        "of the floor",
        "nearer to the floor over all sizes",
        _timed,
        _floor_share,
        "{:.2f}".format,
        more=True,
        alike=OTHERWISE[0],  # medians that were not taken in turn are seen so far apart
    ),
    Criterion("sizes lost", "slower than a peer at fewer", _timed, _lost, "{:.0f}".format),
    Criterion("spilled", "fewer bytes spilled", _compiled, _spills, "{:.0f}".format),
    Criterion("error", "a smaller error over eager's", _judged, _error, "{:.1f}x".format),
    Criterion("narrow", "fewer accesses under 16 bytes", _compiled, _narrow, "{:.0f} %".format),
    Criterion("registers", "fewer registers", _compiled, _registers, "{:.0f}".format),
    Criterion("unnoticed", "fewer mutants its tests miss", _judged, _unnoticed, "{:.0f} %".format),
)
