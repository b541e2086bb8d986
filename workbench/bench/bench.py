"""`workbench bench`: what is known of an op's speed on this machine, kept as evidence.

On a GPU it is measured; without one it is compiled for named targets, and nothing is timed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workbench.bench.measure import ROUNDS, Plan, measure
from workbench.bench.measurement import Measurement
from workbench.bench.progress import Progress, Step
from workbench.bench.static import StaticReport, static_report
from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.evidence.make import of_measurement, of_report
from workbench.judge import sandbox
from workbench.repository import Repository, content
from workbench.runs.store import Store


@dataclass(frozen=True)
class Bench:
    """What was found of one op, and the record of it."""

    op: str
    found: Measurement | StaticReport
    evidence: Evidence

    @property
    def passed(self) -> bool:
        """Whether it could be timed, or compiled, for all that was asked for."""
        return not self.found.failures


def plan(dtype: str | None, sizes: Sequence[str], rounds: int | None) -> Plan:
    """What was asked for on a command line.

    Raises:
        UsageError: no such dtype, or a size that is none.
    """
    chosen = getattr(torch, dtype, None) if dtype else None
    if dtype and not (isinstance(chosen, torch.dtype) and chosen.is_floating_point):
        raise UsageError(f"{dtype!r} is no dtype of floating point", "bfloat16, float16 or float32")
    found = []
    for size in sizes:
        matched = re.fullmatch(r"(\d+)[x,](\d+)", size)
        if matched is None or "0" in matched.groups():
            raise UsageError(f"{size!r} is no size", "as in 8192x4096")
        found.append((int(matched[1]), int(matched[2])))
    return Plan(found or None, chosen, rounds=rounds or ROUNDS)


def bench(
    repository: Repository,
    store: Store,
    op: str,
    plan: Plan,
    progress: Progress,
) -> Bench:
    """Measure an op of the library as planned, or compile it.

    Raises:
        UsageError: the library has no such op.
        WorkbenchError: a process ended where it should not.
        StorageError: the evidence can't be kept.
    """
    root = repository.root
    if op not in repository.ops():
        raise UsageError(f"the library has no op {op!r}", "workbench ops lists them")
    files = content(root, op).digests
    found: Measurement | StaticReport
    if torch.cuda.is_available():
        found = measure(root, op, plan, progress)
        evidence = of_measurement(found, root, files, str(sandbox.find()))
    else:
        progress(Step("compiling"))
        found = static_report(root, op)
        evidence = of_report(found, root, files, found.summary())
    store.add_evidence([evidence])
    return Bench(op, found, evidence)
