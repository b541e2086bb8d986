"""Judging a target: the rules, then the judge, op by op."""

from __future__ import annotations

from typing import Protocol

from workbench import judge
from workbench.evidence.make import of_verdict
from workbench.jobs import lock
from workbench.judge.verdict import Check, Verdict
from workbench.text import printable
from workbench.verification.result import OpResult, Verification, joined
from workbench.verification.targets import Target


class Progress(Protocol):
    """Who wants to know how far it is."""

    def started(self, stage: str) -> None:
        """An op is about to be judged."""

    def doing(self, what: str) -> None:
        """What keeps it."""

    def judged(self, result: OpResult) -> None:
        """It was."""


def verify(
    target: Target, progress: Progress, *, seed: int | None = None, timeout: float | None = None
) -> Verification:
    """The verdict on every op of the target, kept as evidence where there is a repository.
    `timeout` is for each, in seconds.

    Raises:
        StorageError: the evidence can't be kept.
    """
    results = []
    for op in target.ops:
        progress.started(op)
        checks = [rule(op) for rule in target.rules]
        verdict = joined(_judge(target, op, seed, timeout, progress), checks)
        result = OpResult(op=op, verdict=verdict, evidence=_keep(target, verdict))
        progress.judged(result)
        results.append(result)
    changes = target.changes
    return Verification(
        target=target.text,
        kind=target.kind,
        base=target.base,
        head=target.head,
        ops=tuple(results),
        deleted=changes.deleted if changes else (),
        other_files=changes.other_files if changes else (),
        judging_files=changes.judging_files if changes else (),
    )


def _keep(target: Target, verdict: Verdict) -> str | None:
    if target.store is None:
        return None
    record = of_verdict(verdict, target.head)
    target.store.add_evidence([record], run=target.run)
    return record.id


def _judge(
    target: Target, op: str, seed: int | None, timeout: float | None, progress: Progress
) -> Verdict:
    if not op.isidentifier():
        problem = Check(
            name="source", status="failed", message=f"{printable(op)} is not a name for an op"
        )
        return Verdict(op=op, seed=seed or 0, checks=(problem,))
    with lock.own_gpu(lambda step: progress.doing(step.what)):  # nobody is timed meanwhile
        if timeout is None:
            return judge.verify(target.root, op, seed=seed)
        return judge.verify(target.root, op, seed=seed, timeout=timeout)
