"""One type of model after the other, each in a process of its own: what a model does to a process,
or a crash, is nothing to the next one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from workbench.models import Coverage, Row, tiny
from workbench.models.launches import Launches
from workbench.models.training import Training

SECONDS = 180  # for one type
# Float32 sums in another order differ by a few units in the last place, and through the layers by
# some more.
_LOSS_WITHIN, _GRADIENT_WITHIN, _OF_THE_LARGEST = 1e-5, 1e-4, 1e-6


def census(kinds: Sequence[str], told: Callable[[str], None]) -> Coverage:
    """All of these types; `told` hears of each as it is done."""
    rows = {}
    for kind, row in _each(kinds, measure):
        rows[kind] = row if isinstance(row, Row) else Row(type=kind, why=row)
        told(kind)
    versions = {name: version(name) for name in ("transformers", "torch", "triton")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "interpreter"
    return Coverage(versions=versions, device=device, rows=tuple(rows[k] for k in sorted(rows)))


def trained(
    kinds: Sequence[str], told: Callable[[str], None]
) -> dict[str, tuple[Training, ...] | str]:
    """Of each type a training in every dtype, or why there is none."""
    found = {}
    for kind, trainings in _each(kinds, train):
        found[kind] = trainings
        told(kind)
    return {kind: found[kind] for kind in sorted(found)}


T = TypeVar("T")


def _each(kinds: Sequence[str], work: Callable[[str], T]) -> Iterator[tuple[str, T | str]]:
    """What `work` gives for each, or what became of its process; one for each core at a time."""
    context = _context()
    waiting, running = list(reversed(kinds)), dict[Connection, tuple[str, BaseProcess, float]]()
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_work, args=(theirs, work, waiting[-1]))
            process.start()
            theirs.close()
            running[ours] = waiting.pop(), process, monotonic() + SECONDS
        soonest = min(end for _, _, end in running.values())
        ready = wait(list(running), max(0.0, soonest - monotonic()))
        late = [end for end, (_, _, until) in running.items() if until <= monotonic()]
        for end in [end for end in running if end in ready or end in late]:
            kind, process, _ = running.pop(end)
            yield kind, _answer(end, process)


def _context() -> SpawnContext | ForkServerContext:
    """How processes begin: one in which CUDA was looked at cannot be forked to use it."""
    if torch.cuda.is_available():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.preloaded"])
    return context


def _answer(end: Connection, process: BaseProcess) -> Any:
    try:
        return end.recv() if end.poll() else f"not done after {SECONDS} s"
    except EOFError:
        process.join()
        return f"its process ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()
        end.close()


def _work(end: Connection, work: Callable[[str], Any], kind: str) -> None:
    import workbench.models.preloaded  # noqa: F401  # which a spawned process has not

    end.send(work(kind))


def train(kind: str) -> tuple[Training, ...] | str:
    """Some steps in each dtype, with the library and without; or why that can't be."""
    from workbench.models import training
    from workbench_kernels.patching import patch
    from workbench_kernels.patching.verdicts import Verdicts

    known = Verdicts()

    def serve(model: nn.Module) -> None:
        patch(model, verdicts=known)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return tuple(
            training.compare(kind, dtype, serve, device)
            for dtype in (torch.float32, torch.bfloat16)
        )
    except Exception as error:
        return _said(error)


def measure(kind: str) -> Row:
    """One type: built, trained a step, patched, trained a step, compared."""
    from workbench_kernels.patching import patch
    from workbench_kernels.patching.verdicts import Verdicts

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, theirs = tiny.first(kind, lambda model: _finite(model.to(device)))
        model.to(device)
    except Exception as error:
        return Row(type=kind, why=_said(error))
    try:
        report = patch(model, verdicts=Verdicts())
        with Launches() as launches:
            ours = _step(model)
        apart = difference(theirs, ours)
    except Exception as error:
        return Row(type=kind, difference=_said(error))
    return Row(
        type=kind,
        ran=dict(sorted(launches.ops.items())),
        served=Counter(entry.kind for entry in report.served),
        left=Counter(entry.kind for entry in report.left),
        reasons=tuple(dict.fromkeys(f"{e.module}: {e.verdict.reason}" for e in report.left)),
        difference=apart,
    )


Step = tuple[Tensor, dict[str, Tensor]]


def _finite(model: nn.Module) -> Step:
    """A step of a model whose loss says something.

    Raises:
        ValueError: it does not.
    """
    step = _step(model)
    if not step[0].isfinite():
        raise ValueError("its loss is not finite")
    return step


def _step(model: nn.Module) -> Step:
    """The loss and the gradients."""
    torch.manual_seed(2)
    device = next(model.parameters()).device
    loss: Tensor = model(**tiny.batch(device)).loss
    loss.backward()  # type: ignore[no-untyped-call]
    named = model.named_parameters()
    return loss.detach(), {n: p.grad for n, p in named if p.grad is not None}


def difference(theirs: Step, ours: Step) -> str:
    """What is not the same of two steps; empty for nothing."""
    (loss, gradients), (our_loss, our_gradients) = theirs, ours
    if not (loss - our_loss).abs() <= _LOSS_WITHIN * loss.abs():
        return f"the loss is {our_loss:.7g}, not {loss:.7g}"
    if others := gradients.keys() ^ our_gradients.keys():
        return f"only one has a gradient of {min(others)}"
    filled = {name: gradient for name, gradient in gradients.items() if gradient.numel()}
    largest = max(float(gradient.abs().max()) for gradient in filled.values())
    for name, gradient in filled.items():
        size = float(gradient.abs().max())
        off = float((gradient - our_gradients[name]).abs().max())
        if not off <= _GRADIENT_WITHIN * size + _OF_THE_LARGEST * largest:
            return f"the gradient of {name} is off by {off:.1e}, and at most {size:.1e}"
    return ""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}".replace("\n", " ")
