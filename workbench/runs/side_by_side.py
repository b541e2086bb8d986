"""Several runs driven at the same time, each by a process of its own.

Not by threads: tracing and judging use what a process has only one of, and no run may be able to
change another's verdict. A process that dies takes no other with it, and dies with this one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from workbench.crash import keep_traceback
from workbench.errors import WorkbenchError
from workbench.jobs import lock
from workbench.runs import StageResult
from workbench.worker import guard


class Told(Protocol):
    """Who wants to know what each of the runs does."""

    def started(self, run: str, stage: str) -> None:
        """A stage of it begins."""

    def doing(self, run: str, what: str) -> None:
        """The stage that runs is at this now."""

    def finished(self, run: str, stage: str, result: StageResult) -> None:
        """A stage of it ended."""

    def ended(self, run: str, problem: WorkbenchError | None) -> None:
        """Nobody drives it any more."""


@dataclass(frozen=True)
class _Driver:
    process: BaseProcess
    end: Connection

    @classmethod
    def start(cls, root: Path, run: str, options: Mapping[str, Any]) -> _Driver:
        # Spawned: PyTorch, once it was used, is of no use in a forked process.
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, root, run, dict(options), os.getpid())
        process = context.Process(target=_drive, args=arguments, name=run)
        process.start()
        theirs.close()
        return cls(process, ours)

    def stop(self) -> None:
        """End it, and with it what it started."""
        self.end.close()
        self.process.kill()
        self.process.join()


def drive(
    root: Path, runs: Sequence[str], options: Mapping[str, Any], told: Told
) -> dict[str, WorkbenchError]:
    """Drive all of them on until each waits for a person or can't go on; why those that can't.
    Whatever ends this early ends them too.
    """
    drivers: dict[str, _Driver] = {}
    problems: dict[str, WorkbenchError] = {}
    try:
        for run in runs:
            drivers[run] = _Driver.start(root, run, options)
        at = {driver.end: run for run, driver in drivers.items()}
        while at:
            for end in wait(list(at)):
                run = at[end]  # type: ignore[index]
                if (said := _heard(drivers[run])) is not None:
                    what, *about = said
                    getattr(told, what)(run, *about)
                    if what != "ended":
                        continue
                    problem = about[0]
                else:
                    problem = _died(run, drivers[run].process)
                    told.ended(run, problem)
                del at[end]  # type: ignore[arg-type]
                if problem is not None:
                    problems[run] = problem
    finally:
        for driver in drivers.values():
            driver.stop()
    return problems


def _heard(driver: _Driver) -> tuple[Any, ...] | None:
    """What a driver says; None when it is gone."""
    try:
        said: tuple[Any, ...] = driver.end.recv()
    except (EOFError, OSError):
        return None
    return said


def _died(run: str, process: BaseProcess) -> WorkbenchError:
    process.join()
    return WorkbenchError(
        f"the process that drove run {run} ended with {process.exitcode}", f"workbench resume {run}"
    )


class _Teller:
    """A run's progress, told to the process that shows it."""

    def __init__(self, end: Connection) -> None:
        self._end = end

    def started(self, stage: str) -> None:
        self._end.send(("started", stage))

    def doing(self, what: str) -> None:
        self._end.send(("doing", what))

    def finished(self, stage: str, result: StageResult) -> None:
        self._end.send(("finished", stage, result))


def _drive(end: Connection, root: Path, run: str, options: dict[str, Any], parent: int) -> None:
    """Drive one run on, in a process for nothing else."""
    from workbench.repository import Repository
    from workbench.runs.engine import Engine
    from workbench.runs.stages import STAGES

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    guard.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.environ[lock.TURNS] = "1"
    problem: WorkbenchError | None = None
    try:
        Engine(Repository.discover(root), STAGES, _Teller(end)).resume(run, options)
    except WorkbenchError as error:
        problem = error
    except Exception as bug:
        what = f"a bug in the workbench: {type(bug).__name__}"
        problem = WorkbenchError(f"run {run}: {what}", f"the traceback is {keep_traceback()}")
    with suppress(OSError):  # nobody listens any more
        end.send(("ended", problem))
