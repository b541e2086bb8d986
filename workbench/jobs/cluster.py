"""Jobs on a cluster of Ray's, one to a GPU. Nothing but the job travels: each node that does jobs
has the same workbench installed, with the same Python and Ray.
"""

from __future__ import annotations

import logging
import os
import pickle
import platform
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import workbench
from workbench.bench.progress import Step
from workbench.errors import UsageError, WorkbenchError
from workbench.jobs.job import RETRIES, Done, Job, Seldom, Told, died, packed, unpacked
from workbench.jobs.snapshot import digest

_POLL_SECONDS, _KNOCK_SECONDS = 0.25, 10.0
_TYPE = "accelerator_type:"
_SAME = "install the same on every node: pip install 'kernel-workbench[workbench,ray]'"


@contextmanager
def connect(on: str) -> Iterator[Cluster]:
    """The cluster this machine is part of, or the one at `ray://HOST:PORT`, until the context ends.

    Raises:
        UsageError: Ray is not installed, nothing answers there, or what does is another version.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray asks nobody before it tells
    # Else a call that finds its cluster gone starts another, here.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--on ray needs Ray, which is not installed",
            "pip install 'kernel-workbench[workbench,ray]'",
        ) from error
    found = os.environ.get("RAY_ADDRESS") or "auto" if on == "ray" else on
    _knock(found)
    _hush(ray)
    try:
        ray.init("auto" if on == "ray" else on, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ImportError, ValueError) as error:
        lines = str(error).split("\n")
        why = " ".join(" ".join(lines[-1:] if "Traceback" in str(error) else lines).split())
        raise UsageError(
            f"no Ray cluster can be used at {found}: {why}", _hint(f"{why} {error.__cause__}")
        ) from error
    try:
        yield Cluster(ray, on)
    finally:
        ray.shutdown()


class Cluster:
    """Does jobs on a cluster that this process is connected to."""

    apart = True

    def __init__(self, ray: Any, on: str) -> None:
        self._ray = ray
        self.name = "the Ray cluster" if on == "ray" else f"the Ray cluster at {on}"

    @property
    def models(self) -> list[str]:
        """The models of GPU there are, as Ray calls them; "" for those it does not know."""
        kinds = {_model(resources) for resources in self._with_gpus()}
        return sorted({kind for kind in kinds if kind} or kinds)

    def count(self, model: str) -> int:
        """How many GPUs there are of a model, or of any."""
        return sum(int(of["GPU"]) for of in self._with_gpus() if model in ("", _model(of)))

    def _with_gpus(self) -> list[dict[str, float]]:
        """The resources of the nodes that have a GPU."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return [resources for resources in nodes if resources.get("GPU")]

    def run(self, jobs: Sequence[Job], told: Told) -> Iterator[Done]:
        """Do them, in any order.

        Raises:
            UsageError: a node can't load the workbench.
            WorkbenchError: the cluster is gone.
        """
        ray = self._ray
        from ray.exceptions import RayError

        news = ray.remote(_News).options(num_cpus=0, max_restarts=-1).remote()
        self._take(news)  # so that it is there when the first job tells something
        where = dict[int, str]()
        pending = {self._send(number, job, news): number for number, job in enumerate(jobs)}
        for job in jobs:
            told(job, Step(f"waiting for {self.name}"))
        try:
            while pending:
                finished, _ = ray.wait(list(pending), timeout=_POLL_SECONDS)
                for number, said in self._take(news):
                    if isinstance(said, Step):
                        told(jobs[number], said)
                        continue
                    if number in where:
                        again = f"again {said}: its process {where[number]} ended"
                        told(jobs[number], Step(again, notice=True))
                    where[number] = said
                for reference in finished:
                    number = pending.pop(reference)
                    try:
                        reply = ray.get(reference)
                    except RayError as error:
                        yield self._lost(jobs[number], where.get(number, "on some node"), error)
                    else:
                        yield unpacked(jobs[number], reply)
        except (ConnectionError, RayError) as error:
            raise WorkbenchError(
                f"{self.name} is gone: {error}", "what was shown is kept; the rest: again"
            ) from error
        finally:
            with suppress(Exception):  # Ray raises just that where its cluster is gone
                for reference in pending:
                    ray.cancel(reference, force=True)
                ray.kill(news)

    def _send(self, number: int, job: Job, news: Any) -> Any:
        # A process sees no other GPU than the one its CUDA began with: each job has a new one.
        task = self._ray.remote(max_calls=1)(_work).options(
            name=job.label,
            num_cpus=1,
            num_gpus=int(job.gpu),
            max_retries=RETRIES,
            retry_exceptions=False,
            accelerator_type=job.model or None,
        )
        return task.remote(_here(), number, pickle.dumps(job), news)

    def _take(self, news: Any) -> list[tuple[int, Step | str]]:
        """What was told since it was asked last; nothing while it is not there."""
        from ray.exceptions import RayError

        try:
            taken: list[tuple[int, Step | str]] = self._ray.get(news.take.remote())
        except RayError:
            return []
        return taken

    def _lost(self, job: Job, where: str, error: Exception) -> Done:
        """Ray gave a job up.

        Raises:
            UsageError: its node can't load what does jobs.
        """
        from ray.exceptions import RayTaskError

        why = str(error).strip().splitlines()
        if isinstance(error, RayTaskError):  # `_work` raises nothing, so it was not reached
            raise UsageError(
                f"a node of {self.name} can't load the workbench: {why[-1]}", _SAME
            ) from error
        first = why[0].partition(". ")[0] if why else type(error).__name__
        return died(job, where, f"ended ({first})")


class _News:
    """What jobs tell, kept until it is asked for. Lives on the cluster."""

    def __init__(self) -> None:
        self._told: list[tuple[int, Step | str]] = []

    def tell(self, number: int, said: Step | str) -> None:
        """A job is at a step, or begins in a place."""
        self._told.append((number, said))

    def flush(self) -> None:
        """Calls come in order: once this is done, all that was told before has come."""

    def take(self) -> list[tuple[int, Step | str]]:
        """What was told since last time."""
        taken, self._told = self._told, []
        return taken


def _work(here: str, number: int, job: bytes, news: Any) -> bytes:
    """Do a job, on a node; `here` is the workbench that sends it, which must be the one there."""
    if here != (there := _here()):
        problem = UsageError(f"{socket.gethostname()} has {there}, not {here}", _SAME)
        return pickle.dumps((None, problem, ""))
    begins = f"{os.getpid()} on {socket.gethostname()}"
    _surely(news.tell.remote(number, begins))
    reply = packed(job, Seldom(lambda step: news.tell.remote(number, step)))
    _surely(news.flush.remote())
    return reply


def _surely(told: Any) -> None:
    """Wait until it has arrived, and with it what this process told before."""
    import ray

    with suppress(ray.exceptions.RayError):  # nobody listens any more
        ray.get(told)


@cache
def _here() -> str:
    """Which workbench this is, down to its bytes."""
    source = digest(Path(workbench.__file__).parent)[:12]
    python = platform.python_version()
    return f"workbench {workbench.__version__} ({source}) with Python {python}"


def _model(resources: dict[str, float]) -> str:
    return next((n.removeprefix(_TYPE) for n in sorted(resources) if n.startswith(_TYPE)), "")


def _knock(address: str) -> None:
    """See that something answers: Ray itself tries for minutes.

    Raises:
        UsageError: nothing does, or it is no address.
    """
    if address in ("auto", "local"):
        return
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        host, port = parts.hostname, parts.port or 10001
        socket.create_connection((host or "", port), timeout=_KNOCK_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"no Ray cluster answers at {address}: {error}", _hint("")) from error


def _hint(why: str) -> str:
    if "InvalidAuthToken" in why:
        return "it wants its token: RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE"
    if "ersion" in why:
        return _SAME
    return (
        "on the cluster's head: ray start --head, then --on ray there; from elsewhere "
        "--on ray://HOST:10001"
    )


def _hush(ray: Any) -> None:
    """Let Ray not print between our lines that a worker died, which we say, nor into our JSON; it
    has no option for that.
    """
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
