"""Timing an op and its variants, each measurement a job on a GPU that nobody else is timed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.bench import tasks
from workbench.bench.entrant import Rival
from workbench.bench.measure import Plan
from workbench.bench.measurement import OURS
from workbench.evidence import Evidence
from workbench.jobs import Executor, Job, results
from workbench.jobs.snapshot import check, snapshot
from workbench.tune.wave import Idea
from workbench.tune.worktrees import Variants

# Rounds of a race, of which there are many, and where few of those who take part stay to the end.
ROUNDS = 9


@dataclass(frozen=True)
class Clock:
    """Measures as `plan` says, on GPUs of one model; `tell` says for whom it waits."""

    variants: Variants
    executor: Executor
    model: str
    plan: Plan
    tell: Callable[[str], None]

    def measure(self, root: Path, plan: Plan) -> Evidence:
        """The record of a measurement of the op below `root`.

        Raises:
            WorkbenchError: it can't be measured.
        """
        return self._records(root, [plan])[0]

    def race(self, best: Idea, ideas: Sequence[Idea]) -> list[Evidence]:
        """Times ideas beside the best so far: sizes apart, where there are several GPUs.

        Raises:
            WorkbenchError: it can't be measured.
        """
        variants = [Rival(idea.name, "op", sources=idea.sources) for idea in ideas]
        plan = replace(self.plan, rivals=(Rival(OURS, "op"), *variants), rounds=ROUNDS, race=True)
        apart = plan.sizes if plan.sizes and self.executor.count(self.model) > 1 else None
        plans = [replace(plan, sizes=[size]) for size in apart] if apart else [plan]
        return self._records(self.variants.root(best), plans)

    def _records(self, root: Path, plans: Sequence[Plan]) -> list[Evidence]:
        op = self.variants.op
        files = snapshot(root, op)
        jobs = [
            Job(f"{op} {n}", op, files, tasks.measured, (op, plan), model=self.model)
            for n, plan in enumerate(plans)
        ]
        found = dict[str, Evidence]()
        for job, record in results(self.executor, jobs, self.tell):
            evidence = Evidence.read(*record)
            check(evidence, op, files, "measurement")
            found[job.label] = evidence
        return [found[job.label] for job in jobs]
