"""Work on one thing after the other, each in a process of its own: what a model does to a process,
or a crash, is nothing to the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, TypeVar

import torch

SECONDS = 180  # for one of many
N = TypeVar("N")
T = TypeVar("T")


def each(
    names: Sequence[N],
    work: Callable[[N], T],
    *,
    at_once: int | None = None,
    seconds: float = SECONDS,
) -> Iterator[tuple[N, T | str]]:
    """What `work` gives for each, or what became of its process; so many at once, or one for each
    core.
    """
    context, most = _context(), at_once or os.cpu_count() or 1
    waiting, running = list(reversed(names)), dict[Connection, tuple[N, BaseProcess, float]]()
    while waiting or running:
        while waiting and len(running) < most:
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_work, args=(theirs, work, waiting[-1]))
            process.start()
            theirs.close()
            running[ours] = waiting.pop(), process, monotonic() + seconds
        soonest = min(end for _, _, end in running.values())
        ready = wait(list(running), max(0.0, soonest - monotonic()))
        late = [end for end, (_, _, until) in running.items() if until <= monotonic()]
        for end in [end for end in running if end in ready or end in late]:
            name, process, _ = running.pop(end)
            yield name, _answer(end, process, seconds)


def said(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error)[:200]}".replace("\n", " ")


def _context() -> SpawnContext | ForkServerContext:
    """How processes begin: one in which CUDA was looked at cannot be forked to use it."""
    if torch.cuda.is_available():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.preloaded"])
    return context


def _answer(end: Connection, process: BaseProcess, seconds: float) -> Any:
    try:
        return end.recv() if end.poll() else f"not done after {seconds:g} s"
    except EOFError:
        process.join()
        return f"its process ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()
        end.close()


def _work(end: Connection, work: Callable[[N], Any], name: N) -> None:
    import workbench.models.preloaded  # noqa: F401  # which a spawned process has not

    end.send(work(name))
