"""The systematic sweep of what a kernel declares: every table at every width at once.

Tables of different widths, and of different directions, have nothing to do with each other, so one
variant tries something else in each of these lanes: to judge it costs as much as to judge one. A
wave tries the shapes, the next the other parameters, those after it what is near the best.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.tune.rules import faster, gain
from workbench.tune.tables import EVERY, Config, Table, rewritten, tables
from workbench.tune.wave import Idea, Ratio, Settled, Sources, Wave
from workbench_kernels.launch import WIDEST_ROW

KERNEL = "kernel.py"
# Variants of a wave: as many as are judged in a minute, and as fit a GPU side by side.
MOST = 10
# The parameters that decide the shape of a launch, tried in all combinations.
_SHAPE = 2
_EXPECTED = 0.02
# Elements of a block of a row that is too wide to hold.
_BLOCK = 8192


@dataclass
class Lane:
    """A table at one width: what was tried of it, and what is best."""

    table: Table
    width: int
    sizes: Sequence[tuple[int, int]]
    best: Config
    tried: list[tuple[object, ...]] = field(default_factory=list)

    def fresh(self, configs: Sequence[Config], most: int) -> list[Config]:
        """The first of the configurations that nothing like was tried of; they are now."""
        found = []
        for config in configs:
            if (launch := _launch(config, self.width)) not in self.tried:
                self.tried.append(launch)
                found.append(config)
                if len(found) == most:
                    break
        return found

    def shapes(self) -> list[Config]:
        """All combinations of the first parameters, the most promising first; the others as they
        usually are good: what is there may be as bad as the shape.
        """
        choices = {name: self._ordered(name) for name in self.table.choices}
        names = list(choices)[:_SHAPE]
        usual = {name: values[0] for name, values in choices.items()}
        ranked = sorted(
            itertools.product(*(enumerate(choices[name]) for name in names)),
            key=lambda ranks: sum(rank for rank, _ in ranks),
        )
        shapes = ([value for _, value in one] for one in ranked)
        return [{**usual, **dict(zip(names, shape, strict=True))} for shape in shapes]

    def _ordered(self, name: str) -> Sequence[int]:
        """The choices of a parameter, the most promising first."""
        values = self.table.choices[name]
        if name == "elements" and self.width > WIDEST_ROW:  # a row is read in blocks, best in few
            return sorted(values, key=lambda value: abs(math.log2(value / _BLOCK)))
        return values

    def others(self) -> list[Config]:
        """Each of the other parameters changed alone."""
        rest = list(self.table.choices.items())[_SHAPE:]
        return [{**self.best, name: value} for name, values in rest for value in values]

    def neighbours(self) -> list[Config]:
        """Each parameter a step up or down."""
        found = list[Config]()
        for name, values in self.table.choices.items():
            known = sorted({*values, self.best[name]})
            place = known.index(self.best[name])
            near = [known[n] for n in (place - 1, place + 1) if 0 <= n < len(known)]
            found += [{**self.best, name: value} for value in near]
        return found


class Sweep:
    """Proposes configurations of all that a kernel declares, and keeps what is fastest in each
    lane. `sizes` are those that are timed, `most` is how many variants a wave may have.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], most: int = MOST) -> None:
        self._sizes, self._most, self._lanes = sizes, min(most, MOST), list[Lane]()
        self._step = 0
        self._trials: dict[str, dict[int, Config]] = {}

    def propose(self, best: Idea) -> list[Idea]:
        """The next wave; nothing once everything near the best was tried."""
        self._read(best.sources[KERNEL])
        what, lists = self._next()
        count = max(map(len, lists), default=0)
        self._trials = {}
        ideas = []
        for number in range(count):
            trial = {n: found[number] for n, found in enumerate(lists) if number < len(found)}
            name = f"{what} {number + 1}"
            self._trials[name] = trial
            ideas.append(
                Idea(
                    name=name,
                    hypothesis="; ".join(self._said(n, config) for n, config in trial.items()),
                    expected=_EXPECTED,
                    sources=self._sources(best.sources, trial),
                )
            )
        return ideas

    def settle(self, wave: Wave, noise: float) -> Settled:
        """The fastest of each lane in one kernel."""
        chosen, kept = dict[int, Config](), list[Ratio]()
        for number, lane in enumerate(self._lanes):
            found = [
                (gain(ratios), trial[number], ratios)
                for idea in wave.ideas
                if number in (trial := self._trials[idea.name])
                and faster(ratios := _within(lane, wave.ratios(idea)), noise)
            ]
            if found:
                _, chosen[number], ratios = max(found, key=lambda one: one[0])
                kept += ratios
        if not chosen:
            return Settled(best=wave.best)
        sources = self._sources(wave.best.sources, chosen)
        said = "; ".join(self._said(n, config) for n, config in chosen.items())
        for number, config in chosen.items():
            self._lanes[number].best = config
        best = Idea(
            name=f"best of wave {wave.number}",
            hypothesis=f"the fastest of each: {said}",
            expected=gain(kept),
            sources=sources,
        )
        return Settled(best=best, ratios=tuple(kept))

    def _read(self, kernel: str) -> None:
        """Begin with what the kernel declares."""
        if self._lanes:
            return
        for table in tables(kernel).values():
            for width in sorted({table.width(cols) for _, cols in self._sizes}):
                sizes = [size for size in self._sizes if table.width(size[1]) == width]
                lane = Lane(table, width, sizes, table.at(width))
                lane.fresh([lane.best], 1)
                self._lanes.append(lane)

    def _next(self) -> tuple[str, list[list[Config]]]:
        """What to try in each lane: shapes, then the others, then neighbours as long as any are."""
        steps = (("shape", Lane.shapes), ("other", Lane.others), ("near", Lane.neighbours))
        while True:
            what, of = steps[min(self._step, len(steps) - 1)]
            self._step += 1
            found = [lane.fresh(of(lane), self._most) for lane in self._lanes]
            if any(found):
                return f"{what} {self._step}", found
            if self._step >= len(steps):
                return what, []

    def _sources(self, sources: Sources, trial: Mapping[int, Config]) -> dict[str, str]:
        """The op with these configurations of lanes."""
        declared = tables(sources[KERNEL])
        changed = list[Table]()
        for name, table in declared.items():
            own = {
                lane.width: trial[number]
                for number, lane in enumerate(self._lanes)
                if lane.table.name == name and number in trial
            }
            if own:
                pinned = {lane.width: lane.best for lane in self._lanes if lane.table.name == name}
                changed.append(table.having({**pinned, **own}))
        return {**sources, KERNEL: rewritten(sources[KERNEL], changed)}

    def _said(self, number: int, config: Config) -> str:
        lane = self._lanes[number]
        changed = [f"{k} {v}" for k, v in config.items() if v != lane.best[k]]
        where = "" if lane.width == EVERY else f" at {lane.width}"
        return f"{lane.table.name}{where}: {' '.join(changed) or 'as it is'}"


def _within(lane: Lane, ratios: Sequence[Ratio]) -> list[Ratio]:
    """What a lane's configuration decides."""
    ways = lane.table.directions()
    return [r for r in ratios if (r.rows, r.cols) in lane.sizes and r.direction in ways]


def _launch(config: Config, width: int) -> tuple[object, ...]:
    """What a configuration comes to: a program has at least a row that fits, and a launch has from
    1 to 32 warps, so that several configurations may be one.
    """
    rest = tuple(v for k, v in config.items() if k not in ("elements", "per_thread"))
    if not {"elements", "per_thread"} <= config.keys():
        return tuple(config.values())
    elements = config["elements"]
    if EVERY < width <= WIDEST_ROW:
        elements = width * max(1, min(128, elements // width))
    return (elements, max(1, min(32, elements // (32 * config["per_thread"]))), *rest)
