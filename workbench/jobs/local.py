"""Jobs on this machine: in this process, or in one for each of several GPUs."""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

from workbench import locks
from workbench.bench.progress import Step
from workbench.errors import WorkbenchError
from workbench.jobs.gpus import Gpu, gpus
from workbench.jobs.job import RETRIES, Done, Job, Seldom, Told, died, packed, unpacked
from workbench.worker import guard

_POLL_SECONDS = 1.0


class Local:
    """Does jobs on the GPUs this process sees."""

    name = "this machine"

    def __init__(self, visible: Sequence[Gpu] | None = None) -> None:
        self._gpus = gpus() if visible is None else list(visible)

    @property
    def models(self) -> list[str]:
        """The models of GPU there are."""
        return list(dict.fromkeys(gpu.model for gpu in self._gpus))

    @property
    def apart(self) -> bool:
        """Where there is but one GPU, jobs are done in this process."""
        return len(self._gpus) > 1

    def count(self, model: str) -> int:
        """How many GPUs there are of a model, or of any."""
        return sum(model in ("", gpu.model) for gpu in self._gpus)

    def run(self, jobs: Sequence[Job], told: Told) -> Iterator[Done]:
        """Do them: in this process, one after the other, where there is but one GPU."""
        if self.apart:
            yield from _Processes(self._gpus, jobs, told).run()
            return
        for job in jobs:
            try:
                yield Done(job, job.do(lambda step, job=job: told(job, step)))  # type: ignore[misc]
            except WorkbenchError as problem:
                yield Done(job, problem=problem)


@dataclass
class _Try:
    job: Job
    failed: int = 0


class _Worker:
    """A process that sees one GPU, and the job it is at."""

    def __init__(self, gpu: Gpu, scratch: str) -> None:
        # Spawned: a forked process can't use a GPU that this one has looked at.
        context = get_context("spawn")
        self.gpu = gpu
        self.at: _Try | None = None
        self.end, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, gpu.visible, scratch, os.getpid()), name=gpu.visible
        )
        self.process.start()
        theirs.close()

    def begin(self, attempt: _Try) -> None:
        """Hand it a job; that it is gone shows when it is listened to."""
        self.at = attempt
        try:
            self.end.send_bytes(pickle.dumps(attempt.job))
        except OSError:
            return

    def stop(self) -> None:
        """End it, and with it what it started."""
        self.end.close()
        self.process.kill()
        self.process.join()

    @property
    def ending(self) -> str:
        """How it ended, once it has."""
        self.process.join()
        code = self.process.exitcode or 0
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


class _Processes:
    """One process for each GPU, started when there is something to do on it."""

    def __init__(self, visible: Sequence[Gpu], jobs: Sequence[Job], told: Told) -> None:
        assert {job.model for job in jobs} <= {"", *(gpu.model for gpu in visible)}
        self._gpus, self._told = visible, told
        self._waiting = deque(_Try(job) for job in jobs)
        self._workers: dict[str, _Worker] = {}

    def run(self) -> Iterator[Done]:
        """Do the jobs; none of the processes outlives this."""
        # Theirs too, since one that is killed leaves its files.
        with tempfile.TemporaryDirectory(
            prefix="workbench-jobs-", ignore_cleanup_errors=True
        ) as scratch:
            try:
                while self._waiting or self._busy:
                    self._hand_out(scratch)
                    ends = {worker.end: worker for worker in self._busy}
                    for end in wait(list(ends), _POLL_SECONDS):
                        yield from self._hear(ends[end])  # type: ignore[index]
            finally:
                for worker in self._workers.values():
                    worker.stop()

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.at]

    def _hand_out(self, scratch: str) -> None:
        """A job to each GPU that has none, those first that no other command is at. One that is
        taken is waited for only where nothing else is left to wait for.
        """
        busy = {worker.gpu.visible for worker in self._busy}
        idle = [gpu for gpu in self._gpus if gpu.visible not in busy]
        free = [gpu for gpu in idle if self._waiting and locks.is_free(gpu.whole)]
        for attempt in list(self._waiting):
            fits = [gpu for gpu in free if attempt.job.model in ("", gpu.model)]
            if not fits and not self._busy:
                fits = [gpu for gpu in idle if attempt.job.model in ("", gpu.model)]
            if fits:
                self._waiting.remove(attempt)
                free = [gpu for gpu in free if gpu != fits[0]]
                worker = self._workers.get(fits[0].visible) or _Worker(fits[0], scratch)
                self._workers[fits[0].visible] = worker
                worker.begin(attempt)

    def _hear(self, worker: _Worker) -> Iterator[Done]:
        attempt = worker.at
        assert attempt is not None
        try:
            said = worker.end.recv()
        except (EOFError, OSError):
            del self._workers[worker.gpu.visible]
            yield from self._died(attempt, worker)
            return
        if isinstance(said, Step):
            self._told(attempt.job, said)
        else:
            worker.at = None
            yield unpacked(attempt.job, said)

    def _died(self, attempt: _Try, worker: _Worker) -> Iterator[Done]:
        attempt.failed += 1
        where, how = f"{worker.process.pid} on {worker.gpu.visible}", worker.ending
        worker.stop()
        if attempt.failed > RETRIES:
            yield died(attempt.job, where, how)
        else:
            self._told(attempt.job, Step(f"again: its process {where} {how}", notice=True))
            self._waiting.appendleft(attempt)


def _serve(end: Connection, gpu: str, scratch: str, parent: int) -> None:
    """Do the jobs that come, on this GPU, until nobody sends any."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": gpu, "TMPDIR": scratch}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who sends the jobs ends this
    guard.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return
    progress = Seldom(end.send)
    while True:
        try:
            job = end.recv_bytes()
        except EOFError:
            return
        end.send(packed(job, progress))
