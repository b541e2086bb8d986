"""Evidence made of what the judge and the compiler found, before anyone can say anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence
from workbench.evidence.machine import this_machine, this_workbench, versions
from workbench.judge.stage import library_digests
from workbench.layout import LIBRARY

if TYPE_CHECKING:
    from workbench.autopatch.verdict import ModelVerdict
    from workbench.bench.measurement import Measurement
    from workbench.bench.static import StaticReport
    from workbench.judge.verdict import Verdict


def of_verdict(verdict: Verdict, commit: str | None = None) -> Evidence:
    """What the judge saw of an op, whether it passed or not; of a commit's files, if they are."""
    inputs = "the cases of spec.py and the judge's own, values drawn from the seed"
    return _verification(verdict, inputs, verdict.library, commit or "")


def of_models(verdict: ModelVerdict, root: Path) -> Evidence:
    """What was seen of a recipe, whether it passed or not, with the library below `root`."""
    rules = sorted((root / LIBRARY / "patching").glob("*.py"))
    digests = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in rules
    }
    inputs = "tiny models of the type, the library's own text, a token for each letter"
    return _verification(verdict, inputs, library_digests(root) | digests)


def _verification(
    verdict: Verdict | ModelVerdict, inputs: str, library: dict[str, str], commit: str = ""
) -> Evidence:
    return Evidence(
        kind="verification",
        op=verdict.op,
        files=verdict.files,
        library=library,
        seed=verdict.seed,
        recipe={"inputs": inputs, "dtypes": verdict.dtypes, "device": verdict.device},
        machine=this_machine(verdict.sandbox),
        versions=versions(verdict.versions),
        summary=tuple(verdict.summary()),
        data=verdict.model_dump(mode="json"),
        commit=commit,
        **_made(),
    )


def of_report(
    report: StaticReport, root: Path, files: Mapping[str, str], summary: Sequence[str]
) -> Evidence:
    """What the compiler said of the op below `root`, whose files have these digests."""
    return Evidence(
        kind="compilation",
        op=report.op,
        files=dict(files),
        library=library_digests(root),
        seed=None,
        recipe={
            "inputs": "the shapes of spec.py; nothing allocated, nothing launched",
            "dtypes": report.dtypes,
            "targets": report.targets,
        },
        machine=this_machine(),
        versions=versions({"torch": report.torch, "triton": report.triton}),
        summary=tuple(summary),
        data=report.model_dump(),
        **_made(),
    )


def of_measurement(
    measurement: Measurement,
    root: Path,
    files: Mapping[str, str],
    sandbox: str,
    commit: str = "",
) -> Evidence:
    """What was timed of the op below `root`, whose files have these digests: every sample; of a
    commit's files, if they are.
    """
    return Evidence(
        kind="measurement",
        op=measurement.op,
        files=dict(files),
        library=library_digests(root),
        seed=measurement.seed,
        recipe={
            "inputs": "a few rows drawn from the seed, repeated until the size is reached; a pool "
            "of three in turn, the L2 cache overwritten before each call; less what the "
            "device's events add",
            "dtypes": sorted({point.dtype for point in measurement.points}),
            "device": measurement.device,
        },
        machine=this_machine(sandbox),
        versions=versions({}),
        summary=tuple(measurement.summary()),
        data=measurement.model_dump(),
        commit=commit,
        **_made(),
    )


def _made() -> dict[str, Any]:
    return {"created": datetime.now(UTC).replace(microsecond=0), "workbench": this_workbench()}
