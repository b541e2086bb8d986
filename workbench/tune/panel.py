"""Judging many variants at once: here, or as jobs on many GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from workbench.bench.progress import nobody
from workbench.evidence import Evidence
from workbench.jobs import Executor, Job, lock, results
from workbench.jobs.snapshot import snapshot
from workbench.judge.variants import Examined, same_code, verdict
from workbench.judge.verdict import Verdict
from workbench.tune import tasks
from workbench.tune.wave import Idea
from workbench.tune.worktrees import Variants

# What a verdict keeps busy, and of how many variants a job on some GPU is.
_CORES, _TOGETHER = 8, 3


@dataclass(frozen=True)
class Panel:
    """Judges variants of an op. `executor` has the GPUs, of which one model is asked for; `tell`
    says for whom they are waited for.
    """

    variants: Variants
    executor: Executor
    model: str
    tell: Callable[[str], None]

    def __call__(
        self, best: Idea, known: Evidence | None, ideas: Sequence[Idea]
    ) -> Mapping[str, Evidence]:
        """The verdicts on the ideas, and on the best if none is known, by digest.

        Ideas that have the code of the best are judged as its variants, others by themselves.

        Raises:
            WorkbenchError: a process ended where it should not.
        """
        from workbench.evidence.make import of_verdict

        alike = [idea for idea in ideas if same_code(best.sources, idea.sources)]
        whole = [idea for idea in ideas if idea not in alike]
        whole = [*([best] if known is None else []), *whole]
        apart = self.executor.apart
        parts = _parts(alike, _jobs_of(alike) if apart else 1)
        jobs = [self._job(idea.digest, idea, tasks.judged) for idea in whole]
        jobs += [
            self._job(f"part {number}", best, tasks.examined, {i.digest: i.sources for i in part})
            for number, part in enumerate(parts)
        ]
        verdicts, found = dict[str, Verdict](), dict[str, Examined]()
        done = results(self.executor, jobs, self.tell) if apart else self._here(jobs)
        for job, result in done:
            if isinstance(result, Verdict):
                verdicts[job.label] = result
            else:
                found |= result
        judged = verdicts.get(best.digest) or Verdict.model_validate(known and known.data)
        verdicts |= {i.digest: verdict(judged, i.sources, found[i.digest]) for i in alike}
        return {digest: of_verdict(one) for digest, one in verdicts.items()}

    def _job(self, label: str, idea: Idea, function: Any, *arguments: Any) -> Job:
        op = self.variants.op
        files = snapshot(self.variants.root(idea), op)
        own = self.executor.apart  # else they share the one GPU there is
        return Job(label, op, files, function, (op, *arguments), gpu=own, model=self.model)

    def _here(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
        """All on one GPU, which nobody is timed on meanwhile: most of a verdict is work of CPUs."""
        count = max(1, min(len(jobs), len(os.sched_getaffinity(0)) // _CORES))
        with (
            lock.own_gpu(lambda step: self.tell(step.what)),
            ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool,
        ):
            begun = [(job, pool.submit(_alone, job)) for job in jobs]
            for job, one in begun:
                yield job, one.result()


def _alone(job: Job) -> Any:
    return job.do(nobody)


def _jobs_of(ideas: Sequence[Idea]) -> int:
    return -(-len(ideas) // _TOGETHER)


def _parts(ideas: Sequence[Idea], count: int) -> list[list[Idea]]:
    parts = [list(ideas[n::count]) for n in range(count)]
    return [part for part in parts if part]
