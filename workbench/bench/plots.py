"""A measurement as plots: which lines there are, what they say in words, and the SVG of each.

Colour is never alone in telling contenders apart: each has a marker and a dash pattern too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from workbench.bench import svg
from workbench.bench.contest import Direction
from workbench.bench.export import Row, directions, measured, rows
from workbench.bench.measurement import OURS, Measurement, Point
from workbench.bench.svg import Line, Roof
from workbench.evidence import Evidence

US, GB, MIB = 1e-6, 1e9, 2**20
WAYS = {"forward": "forward", "backward": "backward", "both": "forward + backward"}
# The place of a point on the size axis.
_Place = tuple[int, int, str]


@dataclass(frozen=True)
class Plot:
    """One plot: the stem of its file, the section it stands in, its heading, its content in words.

    `image` is SVG that stands alone, `inline` the same for the inside of an HTML page.
    """

    name: str
    section: str
    title: str
    words: str
    image: str

    @property
    def inline(self) -> Markup:
        """The SVG as a part of an HTML page, which has its colours and says what it is."""
        return Markup(svg.inline(self.image, self.name))


def plots(evidence: Evidence) -> list[Plot]:
    """The plots of a record of a measurement; those for which it has no value are left out."""
    measurement = measured(evidence)
    drawing = _Drawing(measurement, rows(evidence))
    ways = directions(measurement.points)
    drawn = [
        *[drawing.against(way) for way in ways],
        *[drawing.times(way) for way in ways],
        *[drawing.bandwidth(way) for way in ways],
        drawing.roof(ways),
        drawing.memory(),
        *[drawing.host(way) for way in ways],
    ]
    return [plot for plot in drawn if plot is not None]


class _Drawing:
    """The plots of one measurement, over the same places on the size axis."""

    def __init__(self, measurement: Measurement, rows: Sequence[Row]) -> None:
        self._measurement, self._rows = measurement, rows
        ordered = sorted(map(_place, measurement.points), key=lambda p: (p[0] * p[1], p[1], p[2]))
        self._places = {place: number for number, place in enumerate(ordered)}
        several = len({dtype for *_, dtype in ordered}) > 1
        self._labels = [f"{r}×{c}" + (f" {dtype}" if several else "") for r, c, dtype in ordered]
        results = (result for point in measurement.points for result in point.results)
        names = dict.fromkeys([OURS, *(result.contender for result in results)])
        self._styles = {name: number for number, name in enumerate(names)}

    def against(self, way: Direction) -> Plot | None:
        """Each peer's time over the op's: what a plot over decades of time can't tell apart."""
        lines = self._lines(
            way,
            lambda row: row.time_over_ours_median,
            1.0,
            lambda row: (row.time_over_ours_low, row.time_over_ours_high),
        )
        unit, roof = "time over the op's", Roof(f"{OURS} (1×)", 1.0)
        return self._plot(
            f"against-{way}", "Against the op", WAYS[way], unit, lines, roof=roof, log=True
        )

    def times(self, way: Direction) -> Plot | None:
        """Time against size: every contender with its interval, and the floor."""
        lines = self._lines(
            way,
            lambda row: row.time_median_seconds,
            US,
            lambda row: (row.time_low_seconds, row.time_high_seconds),
        )
        floors = {
            self._places[_place(p)]: p.floors[way] / US
            for p in self._measurement.points
            if way in p.floors
        }
        floor = Line.roof("floor", sorted(floors), [floors[x] for x in sorted(floors)])
        return self._plot(
            f"time-{way}", "Time", WAYS[way], "µs per call", [*lines, floor], log=True
        )

    def bandwidth(self, way: Direction) -> Plot | None:
        """Bandwidth against size. The floor is what the copy's rate makes of the same bytes, so
        that here it is the line of the copy.
        """
        lines = self._lines(way, lambda row: row.achieved_bytes_per_second, GB)
        roof = self._copy("copy = floor")
        return self._plot(f"bandwidth-{way}", "Bandwidth", WAYS[way], "GB/s", lines, roof=roof)

    def memory(self) -> Plot | None:
        """Peak memory against size."""
        ways = directions(self._measurement.points)
        if not ways:
            return None
        lines = self._lines(ways[0], lambda row: row.peak_memory_bytes, MIB)
        return self._plot("memory", "Memory", "one forward + backward", "MiB", lines, log=True)

    def host(self, way: Direction) -> Plot | None:
        """How long a call keeps the host busy, against size."""
        lines = self._lines(way, lambda row: row.host_seconds, US)
        return self._plot(f"host-{way}", "Host", WAYS[way], "µs of the host per call", lines)

    def roof(self, ways: Sequence[Direction]) -> Plot | None:
        """What a roofline is without FLOPs: bytes a second against bytes, under the copy's rate."""
        lines = []
        for number, way in enumerate(ways):
            ours = [row for row in self._rows if row.is_ours and row.direction == way]
            known = sorted(
                (row.moved_bytes / MIB, row.achieved_bytes_per_second / GB)
                for row in ours
                if row.moved_bytes and row.achieved_bytes_per_second
            )
            lines.append(
                Line(
                    WAYS[way], [x for x, _ in known], [y for _, y in known], style=number, colour=0
                )
            )
        return self._plot(
            "roof",
            "Roof",
            "the op under the rate of a copy",
            "GB/s",
            lines,
            roof=self._copy("copy"),
            log=True,
            across="MiB that must move",
        )

    def _copy(self, label: str) -> Roof | None:
        rate = self._measurement.ceilings.get("copy bytes/s")
        return Roof(f"{label} ({rate / GB:.0f} GB/s)", rate / GB) if rate else None

    def _lines(
        self,
        way: Direction,
        value: Callable[[Row], float | None],
        unit: float,
        interval: Callable[[Row], tuple[float | None, float | None]] = lambda row: (None, None),
    ) -> list[Line]:
        """A line for each contender, over the sizes at which it has the value."""
        found = []
        for name, style in self._styles.items():
            known = {
                self._places[row.rows, row.cols, row.dtype]: row
                for row in self._rows
                if row.contender == name and row.direction == way and value(row)
            }
            xs = sorted(known)
            ends = [interval(known[x]) for x in xs]
            found.append(
                Line(
                    name,
                    [float(x) for x in xs],
                    [(value(known[x]) or 0.0) / unit for x in xs],
                    [((low or 0.0) / unit, (high or 0.0) / unit) for low, high in ends if high],
                    style=style,
                )
            )
        return found

    def _plot(
        self,
        name: str,
        section: str,
        title: str,
        unit: str,
        lines: Sequence[Line],
        *,
        roof: Roof | None = None,
        log: bool = False,
        across: str = "",
    ) -> Plot | None:
        lines = [line for line in lines if line.ys]
        if not any(line.style is not None for line in lines):
            return None
        words = self._words(f"{self._measurement.op}, {title}, {unit}", lines, roof, across)
        image = svg.draw(
            lines,
            ylabel=unit,
            log=log,
            roof=roof,
            labels=() if across else self._labels,
            xlabel=across or "rows×cols",
            title=f"{self._measurement.op} · {title}",
            words=words,
        )
        return Plot(name, section, title, words, image)

    def _words(self, what: str, lines: Sequence[Line], roof: Roof | None, across: str) -> str:
        """What who can't see the plot is told: the ends of each line."""

        def at(line: Line, end: int) -> str:
            x = line.xs[end]
            place = f"{x:.3g} {across}" if across else self._labels[int(x)]
            return f"{line.ys[end]:.4g} at {place}"

        parts = [f"{line.label} {at(line, 0)}, {at(line, -1)}" for line in lines]
        return "; ".join([what, *([roof.label] if roof else []), *parts])


def _place(point: Point) -> _Place:
    return point.rows, point.cols, point.dtype
