"""Tuning over a made-up GPU: what a configuration takes is a formula, and nothing is timed."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from runs_fixtures import MACHINE, check, verdict

from workbench.bench.contest import Direction, Rounds
from workbench.bench.measure import Plan
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.evidence import Evidence
from workbench.tune.sweep import KERNEL
from workbench.tune.tables import Config, tables
from workbench.tune.wave import Idea

SIZES = [(16384, 1024), (256, 4096), (16384, 4096), (4096, 65536)]
COPY = 4.0e12
GPU = "NVIDIA H200 (made up)"
WAYS: tuple[Direction, ...] = ("forward", "backward")
HEAD = "from workbench_kernels.tuning import ByWidth, Fixed\n\n"
SOURCE = (
    HEAD
    + """FORWARD = ByWidth({"elements": 32768, "per_thread": 4}, {65536: {"elements": 16384}})
BACKWARD = ByWidth({"elements": 32768, "per_thread": 64, "stages": 4, "resident": 4})
"""
)
# Seconds of an op with this kernel at a size in a direction.
Cost = Callable[[str, int, int, Direction], float]


def floor(rows: int, cols: int, way: Direction) -> float:
    return {"forward": 2, "backward": 3, "both": 5}[way] * rows * cols * 2 / COPY


def cost_of_config(config: Config, cols: int) -> float:
    """How many times the floor a configuration takes: best at 4 rows' worth and 8 a thread."""
    elements = max(config["elements"], min(cols, 16384))
    shape = abs(math.log2(elements / max(4096, min(cols, 8192))))
    threads = abs(math.log2(config["per_thread"] / 8))
    loop = abs(config.get("stages", 2) - 2) + abs(math.log2(config.get("resident", 32) / 32))
    return 1.05 + 0.08 * shape + 0.12 * threads + 0.06 * loop


def cost(kernel: str, rows: int, cols: int, way: Direction) -> float:
    """By what the kernel declares for that direction; a launch takes 4 us."""
    for table in tables(kernel).values():
        if way in table.directions():
            config = table.at(table.width(cols))
            return floor(rows, cols, way) * cost_of_config(config, cols) + 4e-6
    return floor(rows, cols, way) + 4e-6


def measurement(
    op: str, contenders: Mapping[str, str], cost: Cost, sizes: Sequence[tuple[int, int]], seed: int
) -> Measurement:
    """What kernels would be measured to take, with half a percent of noise."""
    chance = random.Random(seed)

    def rounds(kernel: str, rows: int, cols: int, way: Direction) -> Rounds:
        ways: tuple[Direction, ...] = WAYS if way == "both" else (way,)
        seconds = sum(cost(kernel, rows, cols, one) for one in ways)
        return [[seconds * chance.gauss(1.0, 0.005) for _ in range(3)] for _ in range(9)]

    points = []
    for rows, cols in sizes:
        results = [
            Result(
                contender=name,
                rounds={way: rounds(kernel, rows, cols, way) for way in (*WAYS, "both")},
                host_seconds={way: 1e-5 for way in (*WAYS, "both")},
                peak_bytes=rows * cols * 4,
                error=0.5,
            )
            for name, kernel in contenders.items()
        ]
        points.append(
            Point(
                rows=rows,
                cols=cols,
                dtype="bfloat16",
                bytes={way: floor(rows, cols, way) * COPY for way in (*WAYS, "both")},
                floors={way: floor(rows, cols, way) for way in (*WAYS, "both")},
                results=tuple(results),
            )
        )
    ceilings = {"copy bytes/s": COPY}
    return Measurement(op=op, device=GPU, seed=seed, ceilings=ceilings, points=tuple(points))


class Bench:
    """Stands for `measure`; `raced` are the kernels that were ever timed."""

    def __init__(self, cost: Cost = cost, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
        self.cost, self.sizes, self.raced = cost, sizes, list[str]()
        self.calls = 0

    def __call__(self, root: Path, op: str, plan: Plan, *_: object) -> Measurement:
        own = (root / "kernels/workbench_kernels" / op / KERNEL).read_text()
        rivals = {r.name: (r.sources or {KERNEL: own})[KERNEL] for r in plan.rivals or ()}
        rivals |= {r.name: (r.sources or {KERNEL: own})[KERNEL] for r in plan.besides}
        return self.measured(op, {OURS: own} | rivals, plan.sizes or self.sizes)

    def race(self, best: Idea, ideas: Sequence[Idea]) -> list[Evidence]:
        """A race, as the loop asks for it."""
        contenders = {OURS: best.sources[KERNEL]} | {i.name: i.sources[KERNEL] for i in ideas}
        found = self.measured("rms_norm", contenders, self.sizes)
        return [record("measurement", found.model_dump())]

    def measured(
        self, op: str, contenders: Mapping[str, str], sizes: Sequence[tuple[int, int]]
    ) -> Measurement:
        self.calls += 1
        self.raced += contenders.values()
        return measurement(op, contenders, self.cost, sizes, self.calls)


class Judge:
    """Stands for the judge: kernels in which `wrong` occurs do not pass."""

    def __init__(self, wrong: str = "skips the work") -> None:
        self.wrong, self.judged = wrong, list[str]()

    def __call__(
        self, best: Idea, known: Evidence | None, ideas: Sequence[Idea]
    ) -> dict[str, Evidence]:
        asked = [*([best] if known is None else []), *ideas]
        self.judged += [idea.name for idea in asked]
        return {idea.digest: self.verdict(idea) for idea in asked}

    def verdict(self, idea: Idea) -> Evidence:
        kernel = idea.sources[KERNEL]
        passed = self.wrong not in kernel
        status = "passed" if passed else "failed"
        found = check("forward", status=status, message="" if passed else "y is 0, truth 1")
        return record("verification", verdict(found, passed=passed), kernel)


def record(kind: str, data: dict[str, object], kernel: str = "") -> Evidence:
    return Evidence(
        kind=kind,  # type: ignore[arg-type]
        op="rms_norm",
        files={KERNEL: hashlib.sha256(kernel.encode()).hexdigest()},
        library={},
        seed=1,
        recipe={},
        machine=MACHINE,
        versions={},
        created=datetime(2026, 8, 1, 12, 30, tzinfo=UTC),
        workbench={"version": "0.1.0"},
        summary=("made up",),
        data=data,
    )
