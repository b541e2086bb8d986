"""Judging many variants at once, by processes that share this machine's cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from workbench.evidence import Evidence
from workbench.judge.variants import Examined, Sources, same_code, verdict
from workbench.judge.verdict import Verdict
from workbench.layout import op_paths
from workbench.repository import Repository
from workbench.tune.wave import Idea

# What a verdict keeps busy, most of the time.
_CORES = 4


class Panel:
    """Judges variants of one op, which differ from a commit in that op's files alone."""

    def __init__(self, repository: Repository, run: str, base: str, op: str) -> None:
        self._repository, self._run, self._base, self._op = repository, run, base, op

    def root(self, idea: Idea) -> Path:
        """The idea's worktree, made if it is not there."""
        root = self._repository.ensure_variant(self._run, idea.digest[:12], self._base)
        for file, text in idea.sources.items():
            (root / op_paths(self._op)[0] / file).write_text(text, encoding="utf-8")
        return root

    def __call__(
        self, best: Idea, known: Evidence | None, ideas: Sequence[Idea]
    ) -> Mapping[str, Evidence]:
        """The verdicts on the ideas, and on the best if none is known, by digest.

        Ideas that have the code of the best are judged as its variants, others by themselves.
        """
        from workbench.evidence.make import of_verdict

        alike = [idea for idea in ideas if same_code(best.sources, idea.sources)]
        others = [idea for idea in ideas if idea not in alike]
        with _pool(len(alike) + len(others) + (known is None)) as (pool, count):
            whole: dict[str, Future[Verdict]] = {}
            for idea in [*([best] if known is None else []), *others]:
                whole[idea.digest] = pool.submit(_judge, self.root(idea), self._op)
            parts = [alike[n::count] for n in range(count)]
            examined = [
                pool.submit(
                    _examine, self.root(best), self._op, {i.digest: i.sources for i in part}
                )
                for part in parts
                if part
            ]
            verdicts = {digest: one.result() for digest, one in whole.items()}
            judged = verdicts.get(best.digest) or Verdict.model_validate(known and known.data)
            sources = {idea.digest: idea.sources for idea in alike}
            for part_found in examined:
                for digest, found in part_found.result().items():
                    verdicts[digest] = verdict(judged, sources[digest], found)
        return {digest: of_verdict(one) for digest, one in verdicts.items()}


@contextmanager
def _pool(tasks: int) -> Iterator[tuple[Executor, int]]:
    """Processes, each with some of the cores, and how many."""
    cores = sorted(os.sched_getaffinity(0))
    count = max(1, min(tasks, len(cores) // _CORES))
    share = len(cores) // count
    context = get_context("spawn")
    places = context.Queue()
    for number in range(count):
        places.put(cores[number * share : (number + 1) * share])
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_settle, initargs=(places,)
    ) as pool:
        yield pool, count


def _settle(places: object) -> None:
    """Take some of the cores, so that the judge starts as many processes as they can carry."""
    os.sched_setaffinity(0, places.get())  # type: ignore[attr-defined]


def _judge(root: Path, op: str) -> Verdict:
    """The verdict on the op below `root`."""
    from workbench import judge

    return judge.verify(root, op)


def _examine(root: Path, op: str, variants: Mapping[str, Sources]) -> dict[str, Examined]:
    """What is found of variants of the op below `root`."""
    from workbench.judge.variants import examine

    return examine(root, op, variants)
