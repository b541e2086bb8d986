"""What a stage that measures an op came to."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.bench import table
from workbench.bench.measurement import Measurement
from workbench.evidence import Evidence
from workbench.runs import StageResult


def result(found: Measurement, evidence: Evidence, worse: Sequence[str] = ()) -> StageResult:
    """The stage's result: it fails if anything failed, or is `worse` than it may be."""
    problems = [*found.failures, *worse]
    return StageResult(
        ok=not problems,
        summary=found.summary(),
        problem="\n".join(problems),
        unknown=table.problems(found),
        tables={"measured": table.rows(found)},
        data=found.model_dump(mode="json"),
        evidence=[evidence],
    )
