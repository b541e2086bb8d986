"""The lock of the GPU that a process would time on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from workbench import locks
from workbench.bench.progress import Progress, Step
from workbench.jobs.gpus import gpus

# In the environment of runs that are driven side by side. Where there is no GPU to wait for they
# judge in turn all the same: a verdict that shares its cores with seven others may run out of time,
# and nobody's verdict depends on who is at work beside.
TURNS = "WORKBENCH_TURNS"
_JUDGE = "judge"


@contextmanager
def own_gpu(progress: Progress) -> Iterator[None]:
    """Be the only one on the first GPU this process sees, which is the one it would time on; where
    it sees none there is nothing to share, unless it has to take turns.

    Raises:
        StorageError: the lock's file can't be opened.
    """
    visible = gpus()
    if not visible and TURNS not in os.environ:
        yield
        return
    name = visible[0].whole if visible else _JUDGE
    with locks.hold(name, lambda what: progress(Step(what, notice=True))):
        yield
