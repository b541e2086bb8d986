"""Where an op's time goes and what bounds it, size by size, of what was measured, what the compiler
said and what the GPU counted; as data, and as sentences for a notebook.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from workbench.bench.architectures import Limit, architecture
from workbench.bench.contest import Direction
from workbench.bench.counters import KernelCounters, moved
from workbench.bench.measurement import OURS, Point
from workbench.bench.static import KernelUsage
from workbench.text import printable

# What keeps a call from taking less. `latency` is whatever else a kernel waits for: occupancy and
# instructions too.
Bound = Literal["host", "bandwidth", "traffic", "launch", "latency", "unknown"]
MEANING: Mapping[Bound, str] = {
    "host": "bound by the host, which takes longer than the GPU",
    "bandwidth": "bound by bandwidth, nothing to gain",
    "traffic": "bound by bandwidth, for bytes that need not move",
    "launch": "bound by the launch",
    "latency": "bound by latency, occupancy or instructions, room to gain",
    "unknown": "bound by what nobody knows: there is no floor",
}
# The share of a copy's rate from which on a kernel has nothing to gain.
FULL = 0.9
# What a call may take beyond its floor, however little it does. A choice: calls of nothing but a
# launch take a few microseconds by the device's events.
LAUNCH_SECONDS = 8e-6


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Way(_Frozen):
    """One direction at one size: the seconds of a call on the GPU and on the host, the floor, and
    the bytes that must move beside those that were counted.
    """

    direction: Direction
    bound: Bound
    seconds: float
    host_seconds: float
    floor_seconds: float | None
    must_bytes: float
    moved_bytes: float | None = None

    @property
    def share(self) -> float | None:
        """The floor over the time."""
        return None if self.floor_seconds is None else self.floor_seconds / self.seconds

    @property
    def excess(self) -> float | None:
        """What moved over what must."""
        return None if self.moved_bytes is None else self.moved_bytes / self.must_bytes


class KernelLimits(KernelUsage):
    """A kernel as compiled, and what keeps its occupancy from being more."""

    limit: Limit


class Diagnosed(_Frozen):
    """One size. `kernels` were compiled for this width, or else for the next narrower one that was
    compiled; where one is autotuned, in its first configuration. `launches` are what was counted;
    `problem` says what is missing, and why.
    """

    rows: int
    cols: int
    dtype: str
    ways: tuple[Way, ...]
    kernels: tuple[KernelLimits, ...] = ()
    launches: tuple[KernelCounters, ...] = ()
    problem: Annotated[str, AfterValidator(printable)] = ""

    def sentences(self) -> Iterator[str]:
        """What it is, a line for each direction, kernel and launch."""
        for way in self.ways:
            yield f"{way.direction} {self.rows} x {self.cols}: {_of_way(way)}"
        for kernel in self.kernels:
            yield f"{kernel.kernel} at {kernel.cols} columns: {_of_kernel(kernel)}"
        for launch in self.launches:
            where = f"{launch.direction} {self.rows} x {self.cols}"
            yield f"{launch.kernel} in {where}: {_of_launch(launch)}"
        if self.problem:
            yield self.problem


class Diagnosis(_Frozen):
    """An op on one GPU."""

    op: str
    device: str
    sizes: tuple[Diagnosed, ...]

    def sentences(self) -> list[str]:
        """All of it in plain words; what several sizes share is said once."""
        return list(dict.fromkeys(line for size in self.sizes for line in size.sentences()))


def explain(
    point: Point,
    kernels: Sequence[KernelUsage] = (),
    launches: Sequence[KernelCounters] = (),
    problem: str = "",
) -> Diagnosed:
    """One size, of what is known already; kernels for one target."""
    ours = point.of(OURS)
    ways = [] if ours is None else list(ours.rounds)
    return Diagnosed(
        rows=point.rows,
        cols=point.cols,
        dtype=point.dtype,
        ways=tuple(_way(point, direction, launches) for direction in ways),
        kernels=tuple(_limits(kernel) for kernel in _at(point, kernels)),
        launches=tuple(launches),
        problem=problem,
    )


def _way(point: Point, direction: Direction, launches: Sequence[KernelCounters]) -> Way:
    ours = point.of(OURS)
    assert ours is not None
    seconds, host = ours.times[direction].median, ours.host_seconds[direction]
    floor, must = point.floors.get(direction), point.bytes[direction]
    counted = moved(launches, direction)
    return Way(
        direction=direction,
        bound=_bound(direction, seconds, host, floor, 1.0 if counted is None else counted / must),
        seconds=seconds,
        host_seconds=host,
        floor_seconds=floor,
        must_bytes=must,
        moved_bytes=counted,
    )


def _bound(
    direction: Direction, seconds: float, host: float, floor: float | None, excess: float
) -> Bound:
    """The first that applies."""
    if host >= seconds:
        return "host"
    if floor is None:
        return "unknown"
    if floor / seconds >= FULL:
        return "bandwidth"
    if excess * floor / seconds >= FULL:
        return "traffic"
    launches = 2 if direction == "both" else 1
    return "launch" if seconds - floor <= launches * LAUNCH_SECONDS else "latency"


def _at(point: Point, kernels: Sequence[KernelUsage]) -> list[KernelUsage]:
    """Those that run at a size, as far as they were compiled for it."""
    found: list[KernelUsage] = []
    fitting = [kernel for kernel in kernels if kernel.dtype == point.dtype]
    for name in dict.fromkeys(kernel.kernel for kernel in fitting):
        widths = [kernel.cols for kernel in fitting if kernel.kernel == name]
        nearest = max((cols for cols in widths if cols <= point.cols), default=min(widths))
        found += [k for k in fitting if k.kernel == name and k.cols == nearest]
    return found


def _limits(kernel: KernelUsage) -> KernelLimits:
    limits = architecture(kernel.target)
    limit = limits.limit(kernel.registers, kernel.shared_bytes, kernel.num_warps)
    return KernelLimits(**kernel.model_dump(), limit=limit)


# ---- words


def _of_way(way: Way) -> str:
    facts = [f"{1e6 * way.seconds:.1f} us"]
    if way.share is not None:
        facts.append(f"{way.share:.2f} of the floor")
    facts.append(f"host {1e6 * way.host_seconds:.1f} us")
    excess = "" if way.excess is None else f"; dram moved {way.excess:.2f}x what must"
    return f"{', '.join(facts)}: {MEANING[way.bound]}{excess}"


def _of_kernel(kernel: KernelLimits) -> str:
    spills = f"{kernel.spill_bytes} bytes spilled" if kernel.spill_bytes else "no spills"
    cause = f" by {kernel.limit}" if kernel.occupancy < 1 else ""
    return (
        f"{kernel.registers} registers, {spills}, {kernel.shared_bytes} bytes shared, "
        f"occupancy {kernel.occupancy:.0%}{cause}"
    )


def _of_launch(launch: KernelCounters) -> str:
    facts = []
    if launch.seconds is not None:
        facts.append(f"{1e6 * launch.seconds:.1f} us")
    if launch.registers is not None:
        facts.append(f"{launch.registers} registers")
    if launch.occupancy is not None:
        facts.append(f"{launch.occupancy:.0%} of the warps")
    if launch.l2_hits is not None:
        facts.append(f"L2 serves {launch.l2_hits:.0%}")
    if launch.stall_share is not None:
        facts.append(f"waits for {launch.stall} {launch.stall_share:.0%} of the time")
    return ", ".join(facts) or "nothing was counted"
