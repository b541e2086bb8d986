"""All contenders at one size: given the same, warmed up, timed in turn, and looked at before and
after.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from workbench.bench.contest import Direction, Timed, beaten, interleave
from workbench.bench.entrant import Entrant
from workbench.bench.measurement import OURS, Point, Result
from workbench.channel import dtype_name
from workbench.judge import clocks
from workbench.judge.referee import Referee
from workbench.judge.remote import Ended, Raised
from workbench.judge.repeated import last_rows, times
from workbench.judge.trial import Skip
from workbench_kernels.bound import compare
from workbench_kernels.spec import OpSpec, Traffic
from workbench_kernels.truth import Expected

POOL, WARM_UP = 3, 6
# Rows that are drawn, and their elements, but for some rows whatever their width: to find the truth
# of many takes longer than all the timing.
MOST_FEW, LEAST_FEW, MOST_DRAWN = 64, 4, 1 << 16
# A training step's calls: what starting autograd's run takes is shared by all of them.
HOST_CALLS = 16
HOST_TURNS = 4
TRIES = 3  # for the clocks to agree


@dataclass(frozen=True)
class Drawn:
    """A pool of inputs of `few` rows, repeated until the size is reached, and what is expected of
    the last of them.
    """

    few: int
    values: Sequence[Sequence[Tensor]]
    expected: Sequence[Expected]


class _Wrong(Exception):
    """What is timed does something else than the reference."""


_PROBLEMS = (Raised, Ended, Skip, _Wrong)


class Heat:
    """One size, and who is measured there; `problems` say why others are not. One that fails on the
    way is out, and its result says why; if it is the op itself, `failures` say so too.

    In a `race` forward and backward are timed, and nothing besides; who is beaten stops early, but
    not the op itself, since all are compared with that.
    """

    def __init__(
        self,
        referee: Referee,
        entrants: Mapping[str, Entrant],
        problems: Mapping[str, str],
        size: tuple[int, int],
        dtype: torch.dtype,
        *,
        chance: random.Random,
        seed: int,
        turn: Callable[[str, str], None] = lambda contender, doing: None,
        race: bool = False,
    ) -> None:
        self._race = race
        self._referee, self._entrants, self._size, self._dtype = referee, entrants, size, dtype
        self._chance, self._seed, self._say = chance, seed, turn
        self._in = dict[str, Entrant]()
        absent = {name: Result(contender=name, problem=text) for name, text in problems.items()}
        self._found = {name: Result(contender=name) for name in entrants} | absent
        self.failures: list[str] = []

    def run(self, *, rounds: int, calls: int, ceilings: Mapping[str, float]) -> Point:
        """Measure everyone."""
        self._prepare()
        timed = interleave(
            self._in,
            self._directions,
            rounds=rounds,
            calls=calls,
            chance=self._chance,
            turn=lambda done, name: self._turn(name, f"round {done + 1} of {rounds}"),
            beaten=self._beaten,
        )
        for name in timed:
            with self._turn(name, "memory"):
                self._set(name, rounds=timed[name], **self._besides(name))
        self._hosts()
        clock = dict[Direction, tuple[float, float]]()
        if OURS in self._in and not self._race:
            with self._turn(OURS, "two clocks"):
                clock = self._clocks(self._in[OURS])
        return self._point(ceilings, clock)

    def draw(self) -> Drawn:
        """What every contender is given.

        Raises:
            Skip: the op has no inputs of this size.
        """
        rows, cols = self._size
        few = self._few()
        draws = range(self._seed, self._seed + POOL)
        values = [self._referee.draw(few, cols, self._dtype, seed) for seed in draws]
        expect = partial(self._referee.expect, seed=self._seed)
        spec = self._referee.spec
        return Drawn(few, values, [last_rows(expect, spec, v, few, rows) for v in values])

    def _few(self) -> int:
        """Of how many rows the inputs are drawn: by their number it is told what has rows, so no
        other tensor may have as many.
        """
        rows, cols = self._size
        few = how_few(rows, cols)
        fewer = how_few(few, cols, few)
        drawn = self._referee.draw(fewer, cols, self._dtype, self._seed)
        taken = any(t.ndim and t.shape[0] == few for t in drawn)
        return fewer if taken else few

    @cached_property
    def _drawn(self) -> Drawn:
        return self.draw()

    @cached_property
    def _directions(self) -> list[Direction]:
        ways: list[Direction] = ["forward"]
        if self._backward:
            ways += ["backward"] if self._race else ["backward", "both"]
        return ways

    @property
    def _backward(self) -> bool:
        return bool(self._referee.spec.differentiable)

    @contextmanager
    def _turn(self, name: str, doing: str) -> Iterator[None]:
        """A contender's turn; it is out of the heat if it fails."""
        self._say(name, doing)
        try:
            yield
        except _PROBLEMS as problem:
            self._in.pop(name, None)
            self._found[name] = Result(contender=name, problem=str(problem))
            if name == OURS:
                self.failures.append(f"{self._size}: {problem}")

    def _set(self, name: str, **found: Any) -> None:
        self._found[name] = self._found[name].model_copy(update=found)

    def _beaten(self, found: Timed) -> Collection[str]:
        return beaten(found) - {OURS} if self._race else ()

    def _prepare(self) -> None:
        """Give everyone the inputs, let them warm up, and see what they compute."""
        with ThreadPoolExecutor(max(1, len(self._entrants))) as threads:
            ready = dict[str, Callable[[], object]]()
            for name, entrant in self._entrants.items():
                with self._turn(name, "warms up"):
                    over = times(self._size[0], self._drawn.few)
                    entrant.put_pool(self._drawn.values, self._drawn.expected[0].upstream, over)
                    warm = partial(entrant.warm_up, WARM_UP, backward=self._backward)
                    # Variants of one op only compile; who tunes itself needs the device alone.
                    ready[name] = threads.submit(warm).result if self._race else warm
        for name, wait in ready.items():
            with self._turn(name, "warms up"):
                wait()
                self._found[name] = Result(contender=name, error=self._error(self._entrants[name]))
                self._in[name] = self._entrants[name]

    def _error(self, entrant: Entrant) -> float:
        """How wrong the last rows of one of the pool are, over eager's error.

        Raises:
            _Wrong: the op computes something else.
        """
        which, few = self._chance.randrange(POOL), self._drawn.few
        kept = self._drawn.expected[which]
        got = entrant.results(which, few, backward=self._backward)
        comparisons = compare({n: t for n, t in got.items() if n in kept.eager}, kept)
        if entrant.rival.how == "op" and (wrong := [c.message for c in comparisons if c.message]):
            raise _Wrong(wrong[0])
        return max((c.ratio for c in comparisons), default=0.0)

    def _besides(self, name: str) -> dict[str, Any]:
        """What is found once all rounds are over: whether it is still right, its memory."""
        entrant = self._in[name]
        before = self._found[name].error or 0.0
        error = max(before, self._error(entrant))
        if self._race:
            return {"error": error}
        return {"error": error, "peak_bytes": entrant.peak_bytes()}

    def _hosts(self) -> None:
        """The host's seconds of everyone, who take turns: what disturbs a machine goes by."""
        if self._race:
            return
        found: dict[str, list[dict[Direction, float]]] = {name: [] for name in self._in}
        for _ in range(HOST_TURNS):
            for name, entrant in [*self._in.items()]:
                with self._turn(name, "host"):
                    found[name].append(entrant.host_seconds(HOST_CALLS, backward=self._backward))
        for name in self._in:
            least = {way: min(turn[way] for turn in found[name]) for way in found[name][0]}
            self._set(name, host_seconds=least)

    def _clocks(self, entrant: Entrant) -> dict[Direction, tuple[float, float]]:
        """Seconds per call of the op by both clocks."""
        found: dict[Direction, tuple[float, float]] = {}
        ways: list[tuple[Direction, bool]] = [("forward", False), ("both", True)]
        for direction, backward in ways if self._backward else ways[:1]:
            run = partial(entrant.time, backward=backward)
            for _ in range(TRIES):
                found[direction] = spent = clocks.per_call(run, clocks.enough(run, 1))
                if spent.agree:
                    break
            else:
                self.failures.append(f"{self._size} {direction}: {spent}")
        return found

    def _point(
        self, ceilings: Mapping[str, float], clock: dict[Direction, tuple[float, float]]
    ) -> Point:
        rows, cols = self._size
        moved, flops = _work(self._referee.spec, rows * cols, self._dtype, self._directions)
        return Point(
            rows=rows,
            cols=cols,
            dtype=dtype_name(self._dtype),
            bytes=moved,
            floors=_floors(moved, flops, ceilings),
            flops=flops if any(flops.values()) else {},
            results=tuple(self._found.values()),
            clock=clock,
        )


def how_few(rows: int, cols: int, *others: int) -> int:
    """How many rows are drawn: a divisor of `rows`, not many, and not the columns nor others."""
    most = min(rows, MOST_FEW, max(LEAST_FEW, MOST_DRAWN // cols))
    fits = (n for n in range(most, 0, -1) if rows % n == 0 and n not in (cols, *others))
    return next(fits, rows)


def _work(
    spec: OpSpec, elements: int, dtype: torch.dtype, directions: Sequence[Direction]
) -> tuple[dict[Direction, float], dict[Direction, float]]:
    """The bytes that must move, and the operations of matrix products, by direction."""
    both = (spec.forward, spec.backward)
    traffic: dict[Direction, Sequence[Traffic]] = {
        "forward": both[:1],
        "backward": both[1:],
        "both": both,
    }
    moved = {d: sum(one.bytes(elements, dtype) for one in traffic[d]) for d in directions}
    return moved, {d: elements * sum(one.flops for one in traffic[d]) for d in directions}


def _floors(
    moved: Mapping[Direction, float],
    flops: Mapping[Direction, float],
    ceilings: Mapping[str, float],
) -> dict[Direction, float]:
    """The seconds that both take at least, on this GPU."""
    copy, product = ceilings.get("copy bytes/s"), ceilings.get("bf16 FLOP/s")
    if not copy:
        return {}
    return {d: max(moved[d] / copy, flops[d] / product if product else 0.0) for d in moved}
