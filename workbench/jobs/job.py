"""A job, what becomes of it, and who does jobs."""

from __future__ import annotations

import pickle
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workbench.bench.progress import Progress, Step
from workbench.errors import WorkbenchError
from workbench.jobs import lock

# A job whose process died is tried so many times more.
RETRIES = 2
_DIED_HINT = "a job that takes too much memory ends so; what the machine says of it: dmesg"
# What is drawn a few times a second need not be told more often, while something is timed.
_TELL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """`function(root, *arguments, progress)`, where `root` is a folder that holds `files`.

    The function is a module's, and all of it can be pickled, since it may be done on a machine that
    has the same workbench and none of these files. With `gpu` it has a GPU of its own, one of this
    `model`, as the executor names models, or of any. `label` is unique among jobs that are done
    together.
    """

    label: str
    op: str
    files: Mapping[str, bytes]
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    gpu: bool = True
    model: str = ""

    def do(self, progress: Progress) -> Any:
        """Do it in this process, on the first GPU that it sees, once nobody else is at that one.

        Raises:
            WorkbenchError: what the function raises.
            StorageError: the files can't be written, or the lock can't be had.
        """
        from workbench.runs.store import storage_errors

        with (
            tempfile.TemporaryDirectory(prefix="workbench-job-") as folder,
            lock.own_gpu(progress) if self.gpu else nullcontext(),
        ):
            root = Path(folder).resolve()
            with storage_errors(root):
                for path, data in self.files.items():
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / path).write_bytes(data)
            return self.function(root, *self.arguments, progress)


@dataclass(frozen=True)
class Done:
    """What a job gave, or the problem that ended it."""

    job: Job
    result: Any = None
    problem: WorkbenchError | None = None


Told = Callable[[Job, Step], None]


class Executor(Protocol):
    """Who does jobs. `name` says where, as in a sentence; `models` are the models of GPU there, and
    `count(model)` is how many there are of one, with "" of any. `apart` says whether jobs are done
    beside each other, each on a GPU of its own, or in this process.
    """

    @property
    def name(self) -> str: ...

    @property
    def models(self) -> Sequence[str]: ...

    @property
    def apart(self) -> bool: ...

    def count(self, model: str) -> int: ...

    def run(self, jobs: Sequence[Job], told: Told) -> Iterator[Done]:
        """Do them, in the order they are given, and yield each as it is done; `told` of what each
        is at. Leaving the iterator early ends those that run.
        """
        ...


def results(
    executor: Executor, jobs: Sequence[Job], tell: Callable[[str], None]
) -> Iterator[tuple[Job, Any]]:
    """What each job gave, as it is done; `tell` of what a person should know meanwhile: for whom
    one waits, that one is done again.

    Raises:
        WorkbenchError: the problem of the first that has one.
    """

    def told(job: Job, step: Step) -> None:
        if step.notice:
            tell(step.what)

    for done in executor.run(jobs, told):
        if done.problem is not None:
            raise done.problem
        yield done.job, done.result


def died(job: Job, where: str, how: str) -> Done:
    """The job's process died, for the last time."""
    message = f"{job.label}: its process {where} {how}, as {RETRIES} before it did"
    return Done(job, problem=WorkbenchError(message, _DIED_HINT))


def packed(job: bytes, progress: Progress) -> bytes:
    """Do a pickled job in a process that is there for it; all that became of it, pickled."""
    try:
        loaded: Job = pickle.loads(job)
        try:
            return pickle.dumps((loaded.do(progress), None, ""))
        except WorkbenchError as problem:
            return pickle.dumps((None, problem, ""))
    except Exception:
        return pickle.dumps((None, None, traceback.format_exc()))


def unpacked(job: Job, reply: bytes) -> Done:
    """What `packed` says became of the job.

    Raises:
        RuntimeError: a bug of ours, there.
    """
    result, problem, bug = pickle.loads(reply)
    if bug:
        *_, last = bug.strip().splitlines()
        raise RuntimeError(f"{job.label}: {last}\n{bug}")
    return Done(job, result, problem)


class Seldom:
    """Passes on what a person should see, and of the rest what there is time for."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._last = progress, 0.0

    def __call__(self, step: Step) -> None:
        """It is at this step now."""
        now = time.monotonic()
        if step.notice or step.point is not None or now - self._last > _TELL_SECONDS:
            self._last = now
            self._progress(step)
