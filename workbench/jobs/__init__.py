"""Jobs: pieces of work that need nothing of each other, done here or on the GPUs of a cluster.

`bench` makes a list of them and does not ask where they are done. A GPU has one job at a time,
whoever started it; a job whose process dies is tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workbench.errors import UsageError
from workbench.jobs.job import Done, Executor, Job, Told, results

__all__ = ["Done", "Executor", "Job", "Told", "executor", "no_gpu", "results"]

LOCAL, RAY = "local", "ray"


@contextmanager
def executor(on: str) -> Iterator[Executor]:
    """Who does jobs at this place: `local`, `ray` (a cluster this machine is part of) or
    `ray://HOST:PORT`.

    Raises:
        UsageError: it is no such place, or the cluster there can't be used.
    """
    if on == LOCAL:
        from workbench.jobs.local import Local

        yield Local()
    elif on == RAY or on.startswith(f"{RAY}://"):
        from workbench.jobs.cluster import connect

        with connect(on) as cluster:
            yield cluster
    else:
        raise UsageError(f"{on!r} is no place to run jobs", "local, ray, or ray://HOST:PORT")


def no_gpu(what: str, executor: Executor, op: str = "OP") -> UsageError:
    """What needs a GPU can't be done by this executor."""
    return UsageError(
        f"{what} needs a GPU, and {executor.name} has none",
        f"where there is one: --on ray://HOST:PORT; workbench bench {op} compiles it",
    )
