"""Measuring an op on this machine's GPU, beside its reference, the reference compiled, and peers.

Each contender has a process of its own in the judge's sandbox, and gets its turns from here. What
is sent is a few rows, drawn by the referee and repeated there until the size is reached, so that
the last rows of what comes back have a known truth. The clock that counts is the device's, which is
the contender's word; the op's is held against ours, over the same runs.
"""

from __future__ import annotations

import random
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from workbench.bench.entrant import Entrant, Rival
from workbench.bench.heat import Heat
from workbench.bench.measurement import OURS, Measurement, Point
from workbench.bench.peers import peers
from workbench.bench.progress import Progress, Step, nobody
from workbench.errors import WorkbenchError
from workbench.judge import sandbox
from workbench.judge.place import Place
from workbench.judge.remote import Ended, Raised, Remote
from workbench.judge.stage import prepare
from workbench_kernels.spec import OpSpec

EAGER, COMPILED = "eager", "torch.compile"
# Who is always there, beside the peers that are installed.
QUICK = (Rival(OURS, "op"), Rival(EAGER, "reference"))
RIVALS = (
    *QUICK,
    Rival(COMPILED, "compile"),
    Rival("torch.compile max-autotune", "max-autotune"),
)
# How often each contender has its turn at a size, and how many calls it makes then.
ROUNDS, CALLS = 12, 5
# A compiler that tunes itself takes minutes.
PATIENCE_SECONDS, TIMEOUT_SECONDS = 300.0, 3600.0


@dataclass(frozen=True)
class Plan:
    """What to measure: sizes (None: the spec's sweep), a dtype (None: bfloat16 where the op has
    it), and against whom (None: everyone that is known; the compiler, which takes minutes, only if
    `patient`), `besides` too. In a `race` only times are taken, and who is clearly slower stops
    early.
    """

    sizes: Sequence[tuple[int, int]] | None = None
    dtype: torch.dtype | None = None
    rivals: Sequence[Rival] | None = None
    besides: Sequence[Rival] = ()
    patient: bool = True
    rounds: int = ROUNDS
    calls: int = CALLS
    race: bool = False
    seed: int = field(default_factory=lambda: secrets.randbits(31))


def measure(root: Path, op: str, plan: Plan, progress: Progress = nobody) -> Measurement:
    """Measure the op in the library below `root`.

    Raises:
        WorkbenchError: the spec can't be loaded, or a process ended while it was timed.
        TemplateError: the peers' file is broken.
        UsageError: no sandbox works here.
    """
    with _place(root, op) as place:
        try:
            return _Bench(place, plan, progress).run(op)
        except (Raised, Ended) as error:
            raise WorkbenchError(f"{op} can't be measured: {error}") from error


@contextmanager
def _place(root: Path, op: str) -> Iterator[Place]:
    """Where the op below `root` is measured."""
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        stage = prepare(root, op, Path(folder))
        with Place(stage, sandbox.find(), "cuda", time.monotonic() + TIMEOUT_SECONDS) as place:
            yield place


class _Bench:
    def __init__(self, place: Place, plan: Plan, progress: Progress = nobody) -> None:
        self._place, self._plan, self._spec = place, plan, place.referee.spec
        known = plan.rivals
        if known is None:
            known = [*RIVALS, *peers(self._spec)] if plan.patient else [*QUICK, *peers(self._spec)]
        self._rivals = [*known, *plan.besides]
        self._progress, self._step = progress, Step("what this GPU does at best")
        self._chance = random.Random(plan.seed)

    def run(self, op: str) -> Measurement:
        """Measure the op at every size."""
        sizes = self._plan.sizes or self._spec.sweep
        points, failures = list[Point](), list[str]()
        with ExitStack() as processes:
            self._tell(Step("what this GPU does at best", sizes=len(sizes)))
            entrants, problems = self._enter(processes)
            if OURS in problems:  # the others are timed all the same
                failures.append(f"can't be loaded: {problems[OURS]}")
            ceilings = next(iter(entrants.values())).ceilings() if entrants else {}
            for done, (rows, cols) in enumerate(sizes):
                self._tell(Step(f"{rows} x {cols}", done, len(sizes)))
                heat = self._heat(entrants, problems, (rows, cols))
                plan = self._plan
                points.append(heat.run(rounds=plan.rounds, calls=plan.calls, ceilings=ceilings))
                failures += heat.failures
                self._tell(replace(self._step, done=done + 1, point=points[-1]))
        return Measurement(
            op=op,
            device=torch.cuda.get_device_name(),
            seed=self._plan.seed,
            ceilings=ceilings,
            points=tuple(points),
            failures=tuple(failures),
        )

    def _heat(
        self, entrants: dict[str, Entrant], problems: dict[str, str], size: tuple[int, int]
    ) -> Heat:
        return Heat(
            self._place.referee,
            entrants,
            problems,
            size,
            self._plan.dtype or _training_dtype(self._spec),
            chance=self._chance,
            seed=self._plan.seed,
            turn=self._turn,
            race=self._plan.race,
        )

    def _tell(self, step: Step) -> None:
        self._step = step
        self._progress(step)

    def _turn(self, contender: str, doing: str) -> None:
        """Say whose turn it is, and at what."""
        self._progress(replace(self._step, contender=contender, doing=doing))

    def _enter(self, processes: ExitStack) -> tuple[dict[str, Entrant], dict[str, str]]:
        """The rivals that can be loaded, and what is wrong with the others."""
        entrants, problems = dict[str, Entrant](), dict[str, str]()
        with ThreadPoolExecutor(max(1, len(self._rivals))) as threads:
            loading = list[tuple[str, Future[Entrant]]]()
            for rival in self._rivals:
                try:
                    remote, path = self._start(rival, processes)
                except (Raised, Ended) as error:
                    problems[rival.name] = str(error)
                else:  # each imports what it is, which takes a while
                    job = threads.submit(Entrant, remote, rival, self._spec, path)
                    loading.append((rival.name, job))
        for name, job in loading:
            try:
                entrants[name] = job.result()
            except (Raised, Ended) as error:
                problems[name] = str(error)
        return entrants, problems

    def _start(self, rival: Rival, processes: ExitStack) -> tuple[Remote, list[str]]:
        """A process for it, and where that finds the op."""
        place = self._place
        if rival.root is not None:
            place = processes.enter_context(_place(rival.root, self._spec.name))
        path = place.complete if rival.sources is None else place.variant(rival.name, rival.sources)
        started = place.processes(place.host.contend, 1, PATIENCE_SECONDS)
        (remote,) = processes.enter_context(started)
        return remote, path


def _training_dtype(spec: OpSpec) -> torch.dtype:
    return torch.bfloat16 if torch.bfloat16 in spec.dtypes else spec.dtypes[0]
