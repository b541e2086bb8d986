"""The lock of the GPU that a process would time on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workbench import locks
from workbench.bench.progress import Progress, Step
from workbench.jobs.gpus import gpus


@contextmanager
def own_gpu(progress: Progress) -> Iterator[None]:
    """Be the only one on the first GPU this process sees, which is the one it would time on; where
    it sees none there is nothing to share.

    Raises:
        StorageError: the lock's file can't be opened.
    """
    visible = gpus()
    if not visible:
        yield
        return
    with locks.hold(visible[0].whole, lambda what: progress(Step(what, notice=True))):
        yield
