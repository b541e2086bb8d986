"""One HTML page on an op's speed, rendered from one record and from nothing else.

It opens from a disk: styles and plots are in it, it loads nothing and runs nothing, and says so in
a policy that a browser holds it to. A contender's problem is text that nobody vouches for, as is
all of a record: the templates escape everything but the plots that were drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from workbench.bench import plots, svg
from workbench.bench.export import Row, found, rows
from workbench.bench.measurement import Measurement
from workbench.bench.static import NO_TIME, StaticReport
from workbench.errors import EvidenceError, StorageError, TemplateError
from workbench.evidence import Evidence

_TEMPLATES = Path(__file__).parent / "templates"


def page(evidence: Evidence, changes: Sequence[str] = ()) -> str:
    """The page of a record; `changes` is what became of the op's files since.

    Raises:
        EvidenceError: it is a record of a verification, which says nothing of speed.
        TemplateError: a template is broken.
    """
    check(evidence)
    about = found(evidence)
    given: dict[str, Any] = {"evidence": evidence, "about": about, "changes": changes}
    if isinstance(about, Measurement):
        return _render("measured.html.j2", given | _measured(evidence))
    return _render("compiled.html.j2", given | {"no_time": NO_TIME, "groups": _by_target(about)})


def check(evidence: Evidence) -> None:
    """Refuse a record that says nothing of speed.

    Raises:
        EvidenceError: it is one.
    """
    if evidence.kind == "verification":
        raise EvidenceError(
            f"the record {evidence.id[:12]} is a verification of {evidence.op}, nothing measured",
            f"workbench bench {evidence.op}",
        )


def images(evidence: Evidence) -> dict[str, str]:
    """The plots of a record as SVG files, by name.

    Raises:
        EvidenceError: nothing was timed, so there is nothing to plot.
    """
    check(evidence)
    if evidence.kind != "measurement":
        raise EvidenceError(
            f"the record {evidence.id[:12]} of {evidence.op} has nothing to plot: {NO_TIME}",
            f"on a machine with a GPU: workbench bench {evidence.op}",
        )
    return {f"{evidence.op}-{plot.name}.svg": plot.image for plot in plots.plots(evidence)}


def save(files: Mapping[Path, str]) -> None:
    """Write texts to files, in folders that are made where they are missing.

    Raises:
        StorageError: one can't be written.
    """
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            problem = f"{path} can't be written: {error.strerror or error}"
            raise StorageError(problem, "give another path") from error


def _measured(evidence: Evidence) -> dict[str, Any]:
    every = rows(evidence)
    timed = {row.contender for row in every if row.time_samples}
    sections = groupby(plots.plots(evidence), key=lambda plot: plot.section)
    return {
        # Who is timed nowhere has no number, and its problem is said once.
        "rows": [row for row in every if row.contender in timed],
        "lost": [row for row in every if row.wins],
        "ours": [row for row in every if row.is_ours and row.time_samples],
        "sections": {name: list(drawn) for name, drawn in sections},
        "problems": _problems(every),
    }


def _problems(every: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Who was not timed, at which sizes, and why."""
    sizes = list(dict.fromkeys(f"{row.rows} × {row.cols}" for row in every))
    found = dict[tuple[str, str], list[str]]()
    for row in every:
        at, size = found.setdefault((row.contender, row.problem), []), f"{row.rows} × {row.cols}"
        if size not in at:
            at.append(size)
    return [
        (contender, "every size" if at == sizes else ", ".join(at), problem)
        for (contender, problem), at in sorted(found.items())
        if problem
    ]


def _by_target(report: StaticReport) -> dict[str, Any]:
    return {
        target: [kernel for kernel in report.kernels if kernel.target == target]
        for target in report.targets
    }


def _render(name: str, given: Mapping[str, Any]) -> str:
    try:
        return _environment().get_template(name).render(given)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {name}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateError as error:
        raise TemplateError(f"template {name}: {error.message}") from error


# What a template can do with a value


def _number(value: float | None, unit: float = 1.0, digits: int = 4) -> Markup:
    """A number in a unit, to so many digits; the element says it exactly, in the record's unit."""
    if value is None:
        return Markup("–")
    shown = f"{value / unit:#.{digits}g}".removesuffix(".")
    if "e+" in shown:
        shown = f"{value / unit:,.0f}"
    return Markup('<data value="{}">{}</data>').format(repr(value), shown)


def _over(row: Row) -> Markup:
    """A contender's time over the op's, with its interval."""
    low, high = row.time_over_ours_low, row.time_over_ours_high
    if row.time_over_ours_median is None or low is None or high is None:
        return Markup("–")
    return Markup("{}× <small>{:#.3g}–{:#.3g}</small>").format(
        _number(row.time_over_ours_median, digits=3), low, high
    )


def _by_size(rows: Sequence[Row]) -> list[tuple[tuple[int, int, str], list[Row]]]:
    """The rows of each size together, in the order they come."""
    groups = groupby(rows, key=lambda row: (row.rows, row.cols, row.dtype))
    return [(size, list(group)) for size, group in groups]


def _breaks(value: str) -> Markup:
    """A long word that may be broken where a line ends."""
    pieces: Iterator[str] = (value[at : at + 8] for at in range(0, len(value), 8))
    return Markup("<wbr>").join(escape(piece) for piece in pieces)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": _number,
        "over": _over,
        "breaks": _breaks,
        "groupby_size": _by_size,
    }
    environment.globals |= {
        "colours": Markup(svg.COLOURS.read_text(encoding="utf-8")),
        "style": Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "US": plots.US,
        "GB": plots.GB,
        "MIB": plots.MIB,
        "WAYS": plots.WAYS,
    }
    return environment
