"""`workbench bench`: what is known of an op's speed, kept as evidence.

On a GPU it is measured: beside its peers, against an older revision of itself, or against its
committed evidence. Without one it is compiled for named targets, and nothing is timed. Either is a
job, done here or elsewhere; on several models of GPU an op is measured once on each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from workbench.bench import compare, export, tasks
from workbench.bench.measure import ROUNDS, Plan
from workbench.bench.measurement import Measurement
from workbench.bench.static import StaticReport
from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.jobs import Done, Executor, Job, no_gpu
from workbench.jobs.snapshot import check, snapshot
from workbench.layout import evidence_path
from workbench.repository import Repository
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
    # What only a GPU can do, as the command line says it.
    option: ClassVar[str] = ""

    def ops(self, asked: Sequence[str]) -> list[str]:
        """The ops to do.

        Raises:
            UsageError: the library lacks one, or none was named.
        """
        if not asked:
            raise UsageError("no op was named", "workbench ops lists them")
        self.repository.check_ops(asked)
        return list(dict.fromkeys(asked))

    def jobs(self, ops: Sequence[str], executor: Executor) -> list[Job]:
        """One for each op and each model of GPU there is; without a GPU, one for each op.

        Raises:
            UsageError: it takes a GPU, and there is none.
        """
        models = executor.models
        if self.option and not models:
            raise no_gpu(self.option, executor)
        if not models:
            files = {op: snapshot(self.repository.root, op) for op in ops}
            return [Job(op, op, files[op], tasks.compiled, (op,), gpu=False) for op in ops]
        jobs = [self._job(op) for op in ops]
        if len(models) == 1:
            return jobs
        return [
            replace(job, label=f"{job.op} on {model}", model=model)
            for job in jobs
            for model in models
        ]

    def kept(self, done: Done) -> Bench:
        """What a job found, once its record is seen to be of the files that were sent, and stored.

        Raises:
            EvidenceError: it is of others.
            StorageError: it can't be kept.
        """
        job, evidence = done.job, Evidence.read(*done.result)
        check(evidence, job.op, self._sent(job), "measurement" if job.gpu else "compilation")
        self.store.add_evidence([evidence])
        return Bench(job.op, export.found(evidence), evidence)

    def _job(self, op: str) -> Job:
        files = snapshot(self.repository.root, op)
        return Job(op, op, files, tasks.measured, (op, self.plan))

    def _sent(self, job: Job) -> Mapping[str, bytes]:
        """The files that the record is of."""
        return job.files


@dataclass(frozen=True)
class Comparison(Work):
    """Ops at two revisions in turn, beside eager; the record is of the new one."""

    revisions: compare.Revisions
    option = "--compare"

    def ops(self, asked: Sequence[str]) -> list[str]:
        """As named: what the checkout holds does not matter."""
        if not asked:
            raise UsageError("no op was named", "workbench bench OP --compare OLD..NEW")
        for op in asked:
            self.revisions.rivals(op)
        return list(dict.fromkeys(asked))

    def _job(self, op: str) -> Job:
        both = {tasks.OLD: self.revisions.old_root, tasks.NEW: self.revisions.new_root}
        files = {
            f"{side}/{path}": data
            for side, root in both.items()
            for path, data in snapshot(root, op).items()
        }
        commits = (self.revisions.old, self.revisions.new)
        return Job(op, op, files, tasks.compared, (op, self.plan, *commits))

    def _sent(self, job: Job) -> Mapping[str, bytes]:
        new = f"{tasks.NEW}/"
        return {p.removeprefix(new): data for p, data in job.files.items() if p.startswith(new)}


@dataclass(frozen=True)
class Watch(Work):
    """Ops of the library are measured again, and held against their committed evidence."""

    option = "--check"

    def ops(self, asked: Sequence[str]) -> list[str]:
        """Those named, or all."""
        return super().ops(asked or self.repository.ops())

    def _job(self, op: str) -> Job:
        root, path = self.repository.root, evidence_path(op)
        # Which of its records counts is known where the job lands, by the GPU that is there.
        committed = {path: (root / path).read_bytes()} if (root / path).is_file() else {}
        files = snapshot(root, op) | committed
        return Job(op, op, files, tasks.watched, (op, self.plan))


@contextmanager
def work(
    repository: Repository, store: Store, plan: Plan, revisions: str | None, watch: bool
) -> Iterator[Work]:
    """What a command asks for: a comparison of `revisions`, a `watch`, or neither.

    Raises:
        UsageError: both at once, or no such revisions.
        RepositoryError, StorageError: the revisions can't be read, or written out.
    """
    if revisions is not None and watch:
        raise UsageError("--compare and --check are two things", "ask for one of them")
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
    found = [size(text) for text in sizes]
    return Plan(found or None, chosen, rounds=rounds or ROUNDS)


def size(text: str) -> tuple[int, int]:
    """Rows and columns, as a command line has them: 8192x4096.

    Raises:
        UsageError: it is no size.
    """
    matched = re.fullmatch(r"(\d+)[x,](\d+)", text)
    if matched is None or "0" in matched.groups():
        raise UsageError(f"{text!r} is no size", "as in 8192x4096")
    return int(matched[1]), int(matched[2])
