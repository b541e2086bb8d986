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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from workbench.bench.contest import Direction, interleave
from workbench.bench.entrant import Entrant, Rival, last_rows
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.channel import Channel, dtype_name
from workbench.errors import WorkbenchError
from workbench.judge import sandbox
from workbench.judge.place import Place
from workbench.judge.remote import Ended, Raised, Remote
from workbench.judge.stage import prepare
from workbench.judge.trial import Skip
from workbench_kernels.bound import compare
from workbench_kernels.spec import OpSpec, Traffic

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
# How long the shorter of the two runs lasts by which the clocks are compared, and how far they may
# be apart, as in `workbench.judge.checks.clock`.
RUN_SECONDS, APART, APART_SECONDS, TRIES = 0.05, 0.1, 3e-6, 3


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
    progress: Callable[[str], None] = lambda what: None,
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
            path = [str(part) for part in stage.path(stage.suite)]
            try:
                return _Bench(place, path, plan, deadline).run(op, progress)
            except (Raised, Ended) as error:
                raise WorkbenchError(f"{op} can't be measured: {error}") from error


class _Bench:
    def __init__(self, place: Place, path: Sequence[str], plan: Plan, deadline: float) -> None:
        self._place, self._path, self._plan, self._deadline = place, path, plan, deadline
        self._chance = random.Random(plan.seed)
        self._failures: list[str] = []

    def run(self, op: str, progress: Callable[[str], None]) -> Measurement:
        spec = self._place.referee.spec
        dtype = self._plan.dtype or _training_dtype(spec)
        with ExitStack() as processes:
            progress("what this GPU does at best")
            entrants, problems = self._enter(processes, spec)
            ceilings = next(iter(entrants.values())).ceilings() if entrants else {}
            points = []
            for rows, cols in self._plan.sizes or spec.sweep:
                progress(f"{rows} x {cols}")
                points.append(self._point(entrants, problems, rows, cols, dtype, ceilings))
        return Measurement(
            op=op,
            device=torch.cuda.get_device_name(),
            seed=self._plan.seed,
            ceilings=ceilings,
            points=tuple(points),
            failures=tuple(self._failures),
        )

    def _enter(
        self, processes: ExitStack, spec: OpSpec
    ) -> tuple[dict[str, Entrant], dict[str, str]]:
        """The rivals that can be loaded, and what is wrong with the others."""
        entrants, problems = dict[str, Entrant](), dict[str, str]()
        for rival in self._plan.rivals:
            try:
                remote = processes.enter_context(self._process())
                entrants[rival.name] = Entrant(remote, rival, spec, self._path)
            except (Raised, Ended) as error:
                problems[rival.name] = str(error)
        return entrants, problems

    @contextmanager
    def _process(self) -> Iterator[Remote]:
        job = self._place.host.contend()
        remote = Remote(Channel(job.end), self._deadline, job.ending, PATIENCE_SECONDS)
        try:
            yield remote
        finally:
            remote.close()
            job.stop()

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
        for name, entrant in entrants.items():
            try:
                error = self._ready(entrant, rows, cols, dtype)
                ready[name], found[name] = entrant, Result(contender=name, error=error)
            except (Raised, Ended, Skip, _Wrong) as problem:
                found[name] = Result(contender=name, problem=str(problem))
                if name == OURS:
                    self._failures.append(f"({rows}, {cols}): {problem}")
        plan = self._plan
        timed = interleave(
            ready, directions, rounds=plan.rounds, calls=plan.calls, chance=self._chance
        )
        for name, entrant in ready.items():
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

    def _ready(self, entrant: Entrant, rows: int, cols: int, dtype: torch.dtype) -> float:
        """Give it its inputs and let it warm up; how wrong its last rows are, over eager's error.

        Raises:
            _Wrong: it computes something else.
        """
        referee, few = self._place.referee, _few(rows, cols)
        values = [referee.draw(few, cols, dtype, self._plan.seed + i) for i in range(POOL)]
        backward = bool(referee.spec.differentiable)
        expected = [referee.expect(inputs, seed=self._plan.seed) for inputs in values]

        def times(t: Tensor) -> int:
            return rows // few if t.ndim and t.shape[0] == few else 1

        entrant.put(values, expected[0].upstream, times)
        entrant.warm_up(WARM_UP, backward=backward)
        which = self._chance.randrange(POOL)
        kept = last_rows(expected[which], few)
        got = entrant.results(which, few, backward=backward)
        comparisons = compare({n: t for n, t in got.items() if n in kept.eager}, kept)
        if entrant.rival.name == OURS and (wrong := [c.message for c in comparisons if c.message]):
            raise _Wrong(wrong[0])
        return max((c.ratio for c in comparisons), default=0.0)

    def _clocks(
        self, entrant: Entrant, rows: int, cols: int
    ) -> dict[Direction, tuple[float, float]]:
        """Seconds per call of the op by our clock and by its events, over the same runs."""
        found: dict[Direction, tuple[float, float]] = {}
        directions: list[tuple[Direction, bool]] = [("forward", False)]
        if self._place.referee.spec.differentiable:
            directions.append(("both", True))
        for direction, backward in directions:
            for _ in range(TRIES):
                found[direction] = ours, theirs = _quotients(entrant, backward)
                if abs(ours - theirs) <= APART * max(ours, theirs) + APART_SECONDS:
                    break
            else:
                apart = f"{1e6 * theirs:.1f} us a call by its events, {1e6 * ours:.1f} by our clock"
                self._failures.append(f"({rows}, {cols}) {direction}: {apart}")
        return found


class _Wrong(Exception):
    """The op is timed doing something else than its reference does."""


def _quotients(entrant: Entrant, backward: bool) -> tuple[float, float]:
    calls = 1
    while entrant.time(calls, backward=backward)[0] < RUN_SECONDS and calls < 4096:
        calls *= 2
    once = min(entrant.time(calls, backward=backward) for _ in range(2))
    twice = min(entrant.time(2 * calls, backward=backward) for _ in range(2))
    ours, theirs = ((b - a) / calls for a, b in zip(once, twice, strict=True))
    return ours, theirs


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
