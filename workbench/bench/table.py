"""What was measured or compiled as rows for a terminal, sizes that are lost first."""

from __future__ import annotations

from typing import Any

from workbench.bench.contest import Direction
from workbench.bench.measurement import OURS, Measurement, Point
from workbench.bench.static import Floor, KernelUsage
from workbench.bench.statistics import Interval, differ


def rows(measurement: Measurement) -> list[dict[str, Any]]:
    """One row for each size and direction of which the op has timings."""
    return [
        row(point, direction)
        for point in measurement.losses_first
        if (ours := point.of(OURS)) is not None
        for direction in ours.rounds
    ]


def row(point: Point, direction: Direction) -> dict[str, Any]:
    """The op's time with its interval, how near the floor that is, and each peer's time over it."""
    ours = point.of(OURS)
    assert ours is not None
    time = ours.times[direction]
    peers = {peer: times(point.against(peer, direction)) for peer in point.peers}
    return {
        "size": f"{point.rows} x {point.cols}",
        "direction": direction,
        "us": f"{1e6 * time.median:.1f}",
        "interval": f"{1e6 * time.low:.1f}-{1e6 * time.high:.1f}",
        "GB/s": f"{point.bytes[direction] / time.median / 1e9:.0f}",
        **_rate(point, direction, time.median),
        "floor": f"{point.floors[direction] / time.median:.2f}" if point.floors else "n/a",
        "host us": f"{1e6 * ours.host_seconds[direction]:.1f}",
        **peers,
    }


def _rate(point: Point, direction: Direction, seconds: float) -> dict[str, str]:
    """Of an op of matrix products, how many operations a second."""
    if direction not in point.flops:
        return {}
    return {"TFLOP/s": f"{point.flops[direction] / seconds / 1e12:.0f}"}


def times(ratio: Interval | None) -> str:
    """How many times the op's time a peer takes, from our time over the peer's."""
    if ratio is None:
        return "n/a"
    return f"{1 / ratio.median:.2f}x" if differ(ratio) else "same"


def usage_row(usage: KernelUsage) -> dict[str, Any]:
    """A compiled kernel as a reviewer's row: per thread, per block, and accesses 16 bytes wide."""
    counts = (usage.wide_loads, usage.wide_stores, usage.loads, usage.stores)
    wide, every = sum(n or 0 for n in counts[:2]), sum(n or 0 for n in counts[2:])
    return {
        "kernel": usage.kernel,
        "target": usage.target,
        "cols": usage.cols,
        "regs": usage.registers,
        "spill": usage.spill_bytes,
        "shared": usage.shared_bytes,
        "wide": f"{wide}/{every}" if None not in counts else "n/a",
    }


def floor_row(floor: Floor) -> dict[str, Any]:
    """What no kernel gets below at a size, in megabytes."""
    return {
        "size": f"{floor.rows} x {floor.cols}",
        "dtype": floor.dtype,
        "forward MB": f"{floor.forward_bytes / 1e6:.1f}",
        "backward MB": f"{floor.backward_bytes / 1e6:.1f}",
    }


def problems(measurement: Measurement) -> list[str]:
    """Why a contender has no timings, once each."""
    found = {
        f"{r.contender}: {r.problem}" for p in measurement.points for r in p.results if r.problem
    }
    return sorted(found)
