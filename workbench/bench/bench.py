"""`workbench bench`: what is known of an op's speed on this machine, kept as evidence.

On a GPU it is measured: beside its peers, against an older revision of itself, or against its
committed evidence. Without one it is compiled for named targets, and nothing is timed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from workbench.bench import compare, regression
from workbench.bench.entrant import Rival
from workbench.bench.measure import EAGER, ROUNDS, Plan, measure
from workbench.bench.measurement import Measurement
from workbench.bench.progress import Progress, Step
from workbench.bench.static import StaticReport, static_report
from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.evidence.document import Document
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


@dataclass(frozen=True)
class Work:
    """Ops of the library are measured as planned, or compiled."""

    repository: Repository
    store: Store
    plan: Plan

    def ops(self, asked: Sequence[str]) -> list[str]:
        """The ops to do.

        Raises:
            UsageError: the library lacks one, or none was named.
        """
        there = self.repository.ops()
        if not asked:
            raise UsageError("no op was named", "workbench ops lists them")
        for op in asked:
            if op not in there:
                raise UsageError(f"the library has no op {op!r}", "workbench ops lists them")
        return list(asked)

    def do(self, op: str, progress: Progress) -> Bench:
        """Measure or compile one, and keep what was found.

        Raises:
            UsageError: it can't be done here.
            EvidenceError: what it is held against is missing.
            WorkbenchError: a process ended where it should not.
            StorageError: the evidence can't be kept.
        """
        root = self.repository.root
        files = _digests(root, op)
        if torch.cuda.is_available():
            return self._kept(measure(root, op, self.plan, progress), root, files)
        progress(Step("compiling"))
        report = static_report(root, op)
        evidence = of_report(report, root, files, report.summary())
        self.store.add_evidence([evidence])
        return Bench(op, report, evidence)

    def _kept(
        self, found: Measurement, root: Path, files: Mapping[str, str], commit: str = ""
    ) -> Bench:
        evidence = of_measurement(found, root, files, str(sandbox.find()), commit)
        self.store.add_evidence([evidence])
        return Bench(found.op, found, evidence)


@dataclass(frozen=True)
class Comparison(Work):
    """Ops at two revisions in turn, beside eager; the record is of the new one."""

    revisions: compare.Revisions

    def ops(self, asked: Sequence[str]) -> list[str]:
        """As named: what the checkout holds does not matter."""
        if not asked:
            raise UsageError("no op was named", "workbench bench OP --compare OLD..NEW")
        for op in asked:
            self.revisions.rivals(op)
        return list(asked)

    def do(self, op: str, progress: Progress) -> Bench:
        """Measure one at both."""
        rivals = [*self.revisions.rivals(op), Rival(EAGER, "reference")]
        root = self.revisions.new_root
        files = _digests(root, op)
        found = measure(root, op, replace(self.plan, rivals=rivals), progress)
        return self._kept(found, root, files, self.revisions.new)


@dataclass(frozen=True)
class Watch(Work):
    """Ops of the library are measured again, and held against their committed evidence."""

    def ops(self, asked: Sequence[str]) -> list[str]:
        """Those named, or all."""
        return super().ops(asked or self.repository.ops())

    def do(self, op: str, progress: Progress) -> Bench:
        """Measure one; what is slower now is a failure."""
        root = self.repository.root
        files = _digests(root, op)
        committed = Document.load(root, op).evidence
        before = regression.recorded(committed, op, torch.cuda.get_device_name())
        now = measure(root, op, regression.plan(before, self.plan), progress)
        worse = (*now.failures, *regression.regressions(before, now))
        return self._kept(now.model_copy(update={"failures": worse}), root, files)


def _digests(root: Path, op: str) -> Mapping[str, str]:
    """What is measured: asked before, since files may be edited while it is."""
    return content(root, op).digests


@contextmanager
def work(
    repository: Repository, store: Store, plan: Plan, revisions: str | None, watch: bool
) -> Iterator[Work]:
    """What a command asks for: a comparison of `revisions`, a `watch`, or neither.

    Raises:
        UsageError: both at once, no such revisions, or they need a GPU that is not there.
        RepositoryError, StorageError: the revisions can't be read, or written out.
    """
    if revisions is not None and watch:
        raise UsageError("--compare and --check are two things", "ask for one of them")
    if (revisions is not None or watch) and not torch.cuda.is_available():
        what = "--check" if watch else "--compare"
        raise UsageError(f"{what} needs a GPU, and there is none", "workbench bench OP compiles it")
    if revisions is not None:
        with compare.revisions(repository, revisions) as found:
            yield Comparison(repository, store, plan, found)
    else:
        yield (Watch if watch else Work)(repository, store, plan)


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
