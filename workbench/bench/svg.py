"""Lines as SVG. Drawn by matplotlib, which is imported only here and only when something is drawn.

Colours are CSS variables with the light scheme's as what they fall back to, so that the same image
is read on white and on black, alone and in a page; text stays text, in the reader's own font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = Path(__file__).parent / "templates" / "colours.css"
_INK, _GRID, _PAPER = "#1b1b1e", "#dcdce0", "#fefefe"
# Okabe and Ito's, which the colour-blind tell apart; colours.css has them for a dark page.
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_VARIABLES = {_INK: "--ink", _GRID: "--grid", _PAPER: "--paper"} | {
    colour: f"--line-{number}" for number, colour in enumerate(_PALETTE)
}
_MARKERS, _DASHES = "os^DvP", ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
_MOST_LABELS = 12
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "workbench",  # the same image for the same numbers
    "text.parse_math": False,  # a contender's name is no formula
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "figure.facecolor": _PAPER,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Line:
    """Points of a line, the intervals of their values if there are any, and its number among the
    lines, which decides how it looks; None for a bound. `colour` is that of another number.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    intervals: Sequence[tuple[float, float]] = ()
    style: int | None = None
    colour: int | None = None

    @classmethod
    def roof(cls, label: str, xs: Sequence[float], ys: Sequence[float]) -> Line:
        """A bound that changes with the size."""
        return cls(label, xs, ys)


@dataclass(frozen=True)
class Roof:
    """A bound that is the same everywhere."""

    label: str
    value: float


def draw(
    lines: Sequence[Line],
    *,
    ylabel: str,
    xlabel: str,
    labels: Sequence[str],
    log: bool,
    roof: Roof | None,
    title: str,
    words: str,
) -> str:
    """The SVG of lines; with `labels` the x are places with these names, else numbers."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.8, 3.7), layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            _line(axes, line)
        if roof is not None:
            axes.axhline(roof.value, color=_INK, linestyle=(0, (6, 3)), label=roof.label)
        axes.grid(visible=True, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_ylabel(ylabel)
        axes.set_xlabel(xlabel)
        _scale(axes, labels, log)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _finished(file.getvalue(), title, words)


def inline(image: str, prefix: str) -> str:
    """An image as a part of an HTML page: no declaration, ids of its own, the page's colours.

    The figure around it says what it is, so its own words are left out.
    """
    body = image[image.index("<svg") :]
    body = re.sub(r"<(style|title|desc)\b.*?</\1>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\s(?:xmlns(?::\w+)?|version|role|aria-\w+)="[^"]*"', "", body)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r'\b(id|href)="(#?)([^"]*)"', rf'\1="\2{prefix}-\3"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", body)
    return body.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def _line(axes: Axes, line: Line) -> None:
    if line.style is None:
        axes.plot(line.xs, line.ys, color=_INK, linestyle=(0, (6, 3)), marker="_", label=line.label)
        return
    errors: Any = None
    if line.intervals:
        pairs = zip(line.ys, line.intervals, strict=True)
        ends = [(max(0.0, y - low), max(0.0, high - y)) for y, (low, high) in pairs]
        errors = [[below for below, _ in ends], [above for _, above in ends]]
    style = line.style
    colour = style if line.colour is None else line.colour
    axes.errorbar(
        line.xs,
        line.ys,
        yerr=errors,
        label=line.label,
        color=_PALETTE[colour % len(_PALETTE)],
        linestyle=_DASHES[(style + style // len(_PALETTE)) % len(_DASHES)],
        marker=_MARKERS[style % len(_MARKERS)],
        linewidth=2.2 if style == 0 else 1.4,
        markersize=5,
        capsize=3,
        zorder=3 if style == 0 else 2,
    )


def _scale(axes: Axes, labels: Sequence[str], log: bool) -> None:
    from matplotlib import ticker

    if labels:
        step = -(-len(labels) // _MOST_LABELS)
        places = range(0, len(labels), step)
        axes.set_xticks(places, [labels[place] for place in places], rotation=35, ha="right")
        axes.tick_params(axis="x", labelsize=8.5)
    for axis, scaled in ((axes.xaxis, not labels), (axes.yaxis, log)):
        if not scaled:
            continue
        (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
        low, high = axis.get_view_interval()
        # Few decades need more than their powers of ten to be read, and part of one other numbers.
        span = high / max(low, 1e-30)
        steps = (1.0,) if span > 300 else (1.0, 2.0, 5.0)
        locator = ticker.LogLocator(subs=steps) if span > 8 else ticker.MaxNLocator(6)
        axis.set_major_locator(locator)
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_minor_formatter(ticker.NullFormatter())
    if not log:
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])


def _finished(image: str, title: str, words: str) -> str:
    """The image with colours that follow the reader's scheme, and words for who can't see it."""
    body = image[image.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        body = body.replace(f": {colour}", f": var({variable}, {colour})")
    # Hundredths of a point are seen by nobody, and half of the file.
    body = re.sub(
        r'\b(?:d|points|transform)="[^"]*"',
        lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]),
        body,
    )
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)  # what it stands in decides
    about = f"<title>{escape(title)}</title><desc>{escape(words)}</desc>"
    style = f"<style>{COLOURS.read_text(encoding='utf-8')}</style>"
    named = f'{head} role="img" aria-label="{escape(words)}">'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{named}{about}{style}{rest}'
