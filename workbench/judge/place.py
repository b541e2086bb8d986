"""Where a candidate is examined: the processes on one device, the worker host and the referee."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from workbench.channel import Channel
from workbench.judge.host import Host, Job
from workbench.judge.op import Op
from workbench.judge.referee import Referee, RefereeProcess
from workbench.judge.remote import MOST_BYTES, PATIENCE_SECONDS, Remote
from workbench.judge.sandbox import Sandbox
from workbench.judge.stage import Stage

_MOST_ON_GPU = 4 << 30


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


class Place:
    """A worker host and a referee, which may remember its answers, on `device`; the referee alone
    where there are no `candidates`. Leaving the context ends every process in them.
    """

    def __init__(
        self,
        stage: Stage,
        sandbox: Sandbox,
        device: str,
        deadline: float,
        *,
        remembers: bool = False,
        candidates: bool = True,
    ) -> None:
        self.is_gpu, self._remembers, self._candidates = device != "cpu", remembers, candidates
        self._stage, self._deadline = stage, deadline
        self._arguments = (stage, sandbox, device, deadline)
        self._open = ExitStack()

    def __enter__(self) -> Place:
        with ExitStack() as processes:
            if self._candidates:
                self.host = processes.enter_context(Host(*self._arguments))
            self._remote = processes.enter_context(RefereeProcess(*self._arguments))
            self._open = processes.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @cached_property
    def referee(self) -> Referee:
        """The op's spec.

        Raises:
            Raised, Ended: it can't be loaded.
        """
        return Referee(self._remote, remembers=self._remembers)

    @property
    def complete(self) -> list[str]:
        """Where a process finds the op with its spec."""
        return self._stage.path(self._stage.suite)

    def variant(self, name: str, sources: Mapping[str, str]) -> list[str]:
        """Where a process finds the op with these files in place of its own."""
        return self._stage.path(self._stage.add_variant(name, sources))

    @contextmanager
    def opened(
        self, folder: Path, patience: float = PATIENCE_SECONDS, *, of: int = 1
    ) -> Iterator[Op]:
        """The op in `folder`, in processes of its own, one `of` so many that share the machine; not
        imported yet. An answer may take `patience` seconds.

        Raises:
            Ended: the host is gone.
        """
        referee, path = self.referee, self._stage.path(folder)
        with self.processes(self.host.serve, self._workers(of), patience) as remotes:
            yield Op(referee, remotes, self._stage.name, path)

    @contextmanager
    def processes(
        self, start: Callable[[], Job], count: int, patience: float
    ) -> Iterator[list[Remote]]:
        """So many jobs of the host's, until the context is left.

        Raises:
            Ended: the host is gone.
        """
        jobs, remotes = list[Job](), list[Remote]()
        try:
            for _ in range(count):
                jobs.append(job := start())
                remotes.append(
                    Remote(Channel(job.end), self._deadline, job.ending, patience, self._most)
                )
            yield remotes
        finally:
            for remote in remotes:  # all end at once: to leave a GPU takes each of them a while
                remote.close()
            for job in jobs:
                job.stop()

    @property
    def _most(self) -> int:
        """What an answer may weigh: on a GPU, results of the smallest size that is timed."""
        return _MOST_ON_GPU if self.is_gpu else MOST_BYTES

    def _workers(self, of: int) -> int:
        """How many processes share the checks. On a GPU most of the time goes into compiling
        kernels, one core each, and each process takes a while to get at the GPU; in the interpreter
        they would only take each other's time.
        """
        return max(1, min(8, cores() // 2 // of)) if self.is_gpu else 1
