"""What a measurement is at, while it runs: on a terminal a table that grows by a row for each size,
and below it how many there are and whose turn it is; elsewhere a line for each size.
"""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from workbench.bench.contest import Direction
from workbench.bench.measurement import OURS, Point
from workbench.bench.progress import Step
from workbench.bench.table import times
from workbench.facts import INDENT, print_facts
from workbench.text import printable

_BAR = 24


class Watch:
    """Shows the steps of one op's measurement on a console, or nowhere."""

    def __init__(self, op: str, console: Console | None) -> None:
        self._op, self._console = op, console
        self._points: list[Point] = []
        self._step = Step(op)
        self._spinner = Spinner("dots", style="dim")

    def __call__(self, step: Step) -> None:
        """It is at this step now."""
        known, self._step = self._step, step
        if step.point is not None:
            self._points.append(step.point)
        if self._console is None or self._console.is_terminal:
            return
        if step.point is not None:
            facts = [f"{step.done} of {step.sizes} sizes", *_facts(step.point)]
            print_facts(self._console, "measuring", [self._op, *facts])
        elif step.notice and step != known:
            print_facts(self._console, "", [self._op, step.what])

    def table(self) -> RenderableType:
        """The sizes that are done, and what is done now."""
        grid = Table(box=None, pad_edge=False, header_style="dim")
        grid.add_column(f"{self._op:<{INDENT - 1}}", style="bold", no_wrap=True)
        peers = list(dict.fromkeys(peer for point in self._points for peer in point.peers))
        for name in ("us", *map(printable, peers)):
            grid.add_column(name, justify="right", no_wrap=True)
        # What does not fit is cut at the end, where it is said what is done now.
        room = max(1, (self._console.height if self._console is not None else 25) - 4)
        for point in self._points[-room:]:
            grid.add_row(f"{point.rows} x {point.cols}", *_cells(point, peers))
        return Group(*([grid] if self._points else []), self.now())

    def now(self) -> RenderableType:
        """What is done now."""
        step = self._step
        now = Table.grid(padding=(0, 1))
        what = [step.what, *([printable(step.contender)] if step.contender else []), step.doing]
        counted = [Text(f"{step.done} of {step.sizes} sizes")] if step.sizes else []
        bar = [ProgressBar(total=step.sizes, completed=step.done, width=_BAR)] if counted else []
        text = Text(" · ".join(filter(None, what)), style="dim", no_wrap=True)
        text.overflow = "ellipsis"
        now.add_row(
            Text(f"{self._op:<{INDENT - 1}}", style="bold"), self._spinner, *bar, *counted, text
        )
        return now


def _direction(point: Point) -> Direction:
    ours = point.of(OURS)
    return "both" if ours is not None and "both" in ours.rounds else "forward"


def _cells(point: Point, peers: list[str]) -> list[str]:
    """The op's microseconds, forward and backward where it has both, and each peer's over them."""
    way, ours = _direction(point), point.of(OURS)
    us = f"{1e6 * ours.times[way].median:.1f}" if ours is not None else "n/a"
    return [us, *(times(point.against(peer, way)) for peer in peers)]


def _facts(point: Point) -> list[str]:
    us, *over = _cells(point, point.peers)
    peers = [f"{printable(peer)} {found}" for peer, found in zip(point.peers, over, strict=True)]
    return [f"{point.rows} x {point.cols}", f"{us} us {_direction(point)}", *peers]
