"""Diagnosing an op on this machine: its kernels compiled for the GPU, and what that counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from workbench.bench import ncu
from workbench.bench.counters import Counters
from workbench.bench.diagnosis import Diagnosed, Diagnosis, explain
from workbench.bench.measurement import OURS, Measurement, Point
from workbench.bench.static import KernelUsage, static_report
from workbench.errors import UsageError, WorkbenchError

Size = tuple[int, int]


def diagnose(
    root: Path,
    measurement: Measurement,
    sizes: Sequence[Size] | None = None,
    *,
    target: str | None = None,
    timeout: float = ncu.TIMEOUT_SECONDS,
) -> Diagnosis:
    """Look into the op below `root` at sizes that it was measured at (None: all).

    Its kernels are compiled for `target` (None: this machine's GPU). What a GPU counts may take
    `timeout` seconds for each size and direction. Where one of both fails, the rest goes on.

    Raises:
        UsageError: the op was not measured at one of the sizes.
    """
    points = _points(measurement, sizes)
    kernels, missing = _compiled(root, measurement.op, target, points)
    found, counters = list[Diagnosed](), Counters()
    for point in points:
        if counters.problem:  # it would fail again, and take its time
            counters = Counters(problem=counters.problem)
        else:
            counters = _counted(root, measurement.op, point, timeout)
        problems = [missing, f"no counters: {counters.problem}" if counters.problem else ""]
        problem = "; ".join(filter(None, problems))
        found.append(explain(point, kernels, counters.launches, problem))
    return Diagnosis(op=measurement.op, device=measurement.device, sizes=tuple(found))


def _points(measurement: Measurement, sizes: Sequence[Size] | None) -> list[Point]:
    points = {(p.rows, p.cols): p for p in measurement.points if p.of(OURS) is not None}
    for rows, cols in sizes or ():
        if (rows, cols) not in points:
            raise UsageError(f"{measurement.op} was not measured at {rows} x {cols}")
    return [points[size] for size in (sizes or points)]


def _compiled(
    root: Path, op: str, target: str | None, points: Sequence[Point]
) -> tuple[tuple[KernelUsage, ...], str]:
    """The op's kernels, and what is missing of them."""
    if target is None:
        if not torch.cuda.is_available():
            return (), "no kernels compiled: there is no GPU"
        major, minor = torch.cuda.get_device_capability()
        target = f"sm_{major}{minor}"
    try:
        report = static_report(root, op, [target], sorted({point.dtype for point in points}))
    except WorkbenchError as error:
        return (), f"no kernels compiled: {str(error).splitlines()[0]}"
    return report.kernels, "; ".join(failure.splitlines()[0] for failure in report.failures)


def _counted(root: Path, op: str, point: Point, timeout: float) -> Counters:
    ours = point.of(OURS)
    assert ours is not None
    ways = [direction for direction in ours.rounds if direction != "both"]
    dtype = getattr(torch, point.dtype)
    return ncu.count(root, op, (point.rows, point.cols), dtype, ways, timeout=timeout)
