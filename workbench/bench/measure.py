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
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from workbench.bench.contest import Direction, interleave
from workbench.bench.entrant import Entrant, Rival
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.bench.progress import Progress, Step, nobody
from workbench.channel import dtype_name
from workbench.errors import WorkbenchError
from workbench.judge import clocks, sandbox
from workbench.judge.place import Place
from workbench.judge.remote import Ended, Raised
from workbench.judge.repeated import last_rows, times
from workbench.judge.stage import prepare
from workbench.judge.trial import Skip
from workbench_kernels.bound import compare
from workbench_kernels.spec import OpSpec, Traffic
from workbench_kernels.truth import Expected

EAGER, COMPILED = "eager", "torch.compile"
RIVALS = (
    Rival(OURS, "op"),
    Rival(EAGER, "reference"),
    Rival(COMPILED, "compile"),
    Rival("torch.compile max-autotune", "max-autotune"),
)
# How often each contender has its turn at a size, and how many calls it makes then.
ROUNDS, CALLS = 12, 5
POOL, MOST_FEW, WARM_UP = 3, 64, 6
# A compiler that tunes itself takes minutes.
PATIENCE_SECONDS, TIMEOUT_SECONDS = 300.0, 3600.0
TRIES = 3  # for the clocks to agree


@dataclass(frozen=True)
class Plan:
    """What to measure: sizes (None: the spec's sweep), a dtype (None: bfloat16 where the op has
    it), and against whom.
    """

    sizes: Sequence[tuple[int, int]] | None = None
    dtype: torch.dtype | None = None
    rivals: Sequence[Rival] = RIVALS
    rounds: int = ROUNDS
    calls: int = CALLS
    seed: int = field(default_factory=lambda: secrets.randbits(31))


def measure(
    root: Path,
    op: str,
    plan: Plan,
    progress: Progress = nobody,
) -> Measurement:
    """Measure the op in the library below `root`.

    Raises:
        WorkbenchError: the spec can't be loaded, or a process ended while it was timed.
        UsageError: no sandbox works here.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        stage = prepare(root, op, Path(folder))
        deadline = time.monotonic() + TIMEOUT_SECONDS
        with Place(stage, sandbox.find(), "cuda", deadline) as place:
            try:
                return _Bench(place, stage.path(stage.suite), plan, progress).run(op)
            except (Raised, Ended) as error:
                raise WorkbenchError(f"{op} can't be measured: {error}") from error


class _Bench:
    def __init__(
        self, place: Place, path: Sequence[str], plan: Plan, progress: Progress = nobody
    ) -> None:
        self._place, self._path, self._plan = place, path, plan
        self._progress, self._step = progress, Step("what this GPU does at best")
        self._chance = random.Random(plan.seed)
        self._failures: list[str] = []

    def run(self, op: str) -> Measurement:
        """Measure the op at every size."""
        spec = self._place.referee.spec
        sizes = self._plan.sizes or spec.sweep
        dtype = self._plan.dtype or _training_dtype(spec)
        with ExitStack() as processes:
            self._tell(Step("what this GPU does at best", sizes=len(sizes)))
            entrants, problems = self._enter(processes, spec)
            ceilings = next(iter(entrants.values())).ceilings() if entrants else {}
            points = []
            for done, (rows, cols) in enumerate(sizes):
                self._tell(Step(f"{rows} x {cols}", done, len(sizes)))
                points.append(self._point(entrants, problems, rows, cols, dtype, ceilings))
                self._tell(replace(self._step, done=done + 1, point=points[-1]))
        return Measurement(
            op=op,
            device=torch.cuda.get_device_name(),
            seed=self._plan.seed,
            ceilings=ceilings,
            points=tuple(points),
            failures=tuple(self._failures),
        )

    def _tell(self, step: Step) -> None:
        self._step = step
        self._progress(step)

    def _turn(self, contender: str, doing: str) -> None:
        """Say whose turn it is, and at what."""
        self._progress(replace(self._step, contender=contender, doing=doing))

    def _enter(
        self, processes: ExitStack, spec: OpSpec
    ) -> tuple[dict[str, Entrant], dict[str, str]]:
        """The rivals that can be loaded, and what is wrong with the others."""
        entrants, problems = dict[str, Entrant](), dict[str, str]()
        for rival in self._plan.rivals:
            try:
                started = self._place.processes(self._place.host.contend, 1, PATIENCE_SECONDS)
                (remote,) = processes.enter_context(started)
                entrants[rival.name] = Entrant(remote, rival, spec, self._path)
            except (Raised, Ended) as error:
                problems[rival.name] = str(error)
        return entrants, problems

    def _point(
        self,
        entrants: Mapping[str, Entrant],
        problems: Mapping[str, str],
        rows: int,
        cols: int,
        dtype: torch.dtype,
        ceilings: Mapping[str, float],
    ) -> Point:
        spec = self._place.referee.spec
        directions: list[Direction] = ["forward"]
        if spec.differentiable:
            directions += ["backward", "both"]
        found = {name: Result(contender=name, problem=text) for name, text in problems.items()}
        ready = dict[str, Entrant]()
        drawn = cache(partial(self._draw, rows, cols, dtype))
        for name, entrant in entrants.items():
            self._turn(name, "warms up")
            try:
                error = self._ready(entrant, drawn())
                ready[name], found[name] = entrant, Result(contender=name, error=error)
            except (Raised, Ended, Skip, _Wrong) as problem:
                found[name] = Result(contender=name, problem=str(problem))
                if name == OURS:
                    self._failures.append(f"({rows}, {cols}): {problem}")
        plan = self._plan
        timed = interleave(
            ready,
            directions,
            rounds=plan.rounds,
            calls=plan.calls,
            chance=self._chance,
            turn=lambda done, name: self._turn(name, f"round {done + 1} of {plan.rounds}"),
        )
        for name, entrant in ready.items():
            self._turn(name, "memory and host")
            measured = {
                "rounds": timed[name],
                "peak_bytes": entrant.peak_bytes(),
                "host_seconds": {d: entrant.host_seconds(CALLS, d) for d in directions},
            }
            found[name] = found[name].model_copy(update=measured)
        moved = _bytes(spec, rows * cols, dtype, directions)
        rate = ceilings.get("copy bytes/s", 0.0)
        return Point(
            rows=rows,
            cols=cols,
            dtype=dtype_name(dtype),
            bytes=moved,
            floors={d: n / rate for d, n in moved.items()} if rate else {},
            results=tuple(found[rival.name] for rival in self._plan.rivals),
            clock=self._clocks(ready[OURS], rows, cols) if OURS in ready else {},
        )

    def _draw(self, rows: int, cols: int, dtype: torch.dtype) -> _Drawn:
        """What every contender is given.

        Raises:
            Skip: the op has no inputs of this size.
        """
        referee, few = self._place.referee, _few(rows, cols)
        values = [referee.draw(few, cols, dtype, self._plan.seed + i) for i in range(POOL)]
        expected = [referee.expect(inputs, seed=self._plan.seed) for inputs in values]
        return _Drawn(rows, few, values, expected)

    def _ready(self, entrant: Entrant, drawn: _Drawn) -> float:
        """Give it its inputs and let it warm up; how wrong its last rows are, over eager's error.

        Raises:
            _Wrong: it computes something else.
        """
        backward = bool(entrant.spec.differentiable)
        over = times(drawn.rows, drawn.few)
        entrant.put_pool(drawn.values, drawn.expected[0].upstream, over)
        entrant.warm_up(WARM_UP, backward=backward)
        which = self._chance.randrange(POOL)
        kept = last_rows(drawn.expected[which], drawn.few)
        got = entrant.results(which, drawn.few, backward=backward)
        comparisons = compare({n: t for n, t in got.items() if n in kept.eager}, kept)
        if entrant.rival.name == OURS and (wrong := [c.message for c in comparisons if c.message]):
            raise _Wrong(wrong[0])
        return max((c.ratio for c in comparisons), default=0.0)

    def _clocks(
        self, entrant: Entrant, rows: int, cols: int
    ) -> dict[Direction, tuple[float, float]]:
        """Seconds per call of the op by both clocks."""
        found: dict[Direction, tuple[float, float]] = {}
        directions: list[tuple[Direction, bool]] = [("forward", False)]
        if self._place.referee.spec.differentiable:
            directions.append(("both", True))
        for direction, backward in directions:
            run = partial(entrant.time, backward=backward)
            for _ in range(TRIES):
                found[direction] = spent = clocks.per_call(run, clocks.enough(run, 1))
                if spent.agree:
                    break
            else:
                self._failures.append(f"({rows}, {cols}) {direction}: {spent}")
        return found


@dataclass(frozen=True)
class _Drawn:
    """A pool of inputs of `few` rows, repeated until there are `rows`, and what is expected."""

    rows: int
    few: int
    values: Sequence[Sequence[Tensor]]
    expected: Sequence[Expected]


class _Wrong(Exception):
    """The op is timed doing something else than its reference does."""


def _training_dtype(spec: OpSpec) -> torch.dtype:
    return torch.bfloat16 if torch.bfloat16 in spec.dtypes else spec.dtypes[0]


def _few(rows: int, cols: int) -> int:
    """How many rows are drawn: a divisor of `rows`, no other dimension's size, and not many."""
    fits = (n for n in range(min(rows, MOST_FEW), 0, -1) if rows % n == 0 and n != cols)
    return next(fits, rows)


def _bytes(
    spec: OpSpec, elements: int, dtype: torch.dtype, directions: Sequence[Direction]
) -> dict[Direction, float]:
    both = (spec.forward, spec.backward)
    traffic: dict[Direction, Sequence[Traffic]] = {
        "forward": both[:1],
        "backward": both[1:],
        "both": both,
    }
    return {d: sum(one.bytes(elements, dtype) for one in traffic[d]) for d in directions}
