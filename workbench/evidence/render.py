"""Reports, rendered from evidence only: a template gets records, and prints nothing uncited.

What a template is given are `Node`s: values that know where they are in their record. Printed, a
number is followed by its citation, and text is escaped and cited if there is a number in it; a
template that prints a number of its own fails the check that every report goes through.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from workbench.errors import EvidenceError, StorageError, TemplateError
from workbench.evidence import Evidence
from workbench.evidence.check import check_text
from workbench.evidence.citation import Citation, rounded
from workbench.evidence.markdown import escape
from workbench.evidence.numbers import numbers

LIMIT = 60_000
_CUT = "\n*Cut here; the rest is in the evidence.*\n"
_TEMPLATES = Path(__file__).parent / "templates"


class Node:
    """A value in a record, found by its path: `record.data.passed`, or what a function makes of
    several.
    """

    def __init__(self, evidence: Evidence, path: tuple[str, ...] = (), function: str = "") -> None:
        self._evidence = evidence
        self._citation = Citation(evidence.id, path, function)

    @property
    def _value(self) -> Any:
        return self._citation.look_up(self._evidence.record)

    def _at(self, *steps: str, function: str = "") -> Node:
        return Node(self._evidence, (*self._citation.path, *steps), function)

    def __getitem__(self, key: str) -> Node:
        # A template may ask for what an older record does not have: Jinja makes that undefined.
        if isinstance(self._value, dict) and key in self._value:
            return self._at(key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[Node]:
        value = self._value
        steps = range(len(value)) if isinstance(value, list) else sorted(value)
        return (self._at(str(step)) for step in steps)

    def __eq__(self, other: object) -> bool:
        return bool(self._value == other)

    def __bool__(self) -> bool:
        return bool(self._value)

    __hash__ = None  # type: ignore[assignment]


class _Text(str):
    """Text that may stand in a report as it is."""


def report(evidence: Sequence[Evidence]) -> str:
    """The report on an op, at most `LIMIT` characters, every number of it cited.

    Raises:
        EvidenceError: there is no verification among the records.
        TemplateError: the template is broken, or prints a number that is not from a record.
    """
    records: dict[str, Node] = {record.kind: Node(record) for record in evidence}
    if "verification" not in records:
        raise EvidenceError("there is no verification to report", "workbench verify OP")
    text = _cut(_render("report.md.j2", records))
    checked = check_text(text, _Given(evidence))
    if not checked.passed:
        raise TemplateError("\n".join(str(finding) for finding in checked.findings))
    return text


def write(text: str, file: Path) -> None:
    """Write a report to a file.

    Raises:
        StorageError: it can't be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"{file} can't be written: {error.strerror or error}"
        raise StorageError(problem, "give --output another path") from error


class _Given:
    """Records that were just read and are not to be looked for."""

    damaged: Mapping[str, str] = {}

    def __init__(self, evidence: Sequence[Evidence]) -> None:
        self._evidence = evidence

    def find(self, begins: str) -> Evidence:
        """The record whose id begins so."""
        return next(record for record in self._evidence if record.id.startswith(begins))

    def changes(self, evidence: Evidence) -> list[str]:
        """They are taken as they are."""
        return []


def _render(name: str, records: Mapping[str, Node]) -> str:
    missing = {kind: None for kind in ("verification", "compilation", "measurement")}
    try:
        return _environment().get_template(name).render({**missing, **records})
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {name}:{error.lineno}: {error.message}") from error
    except jinja2.TemplateError as error:
        raise TemplateError(f"template {name}: {error.message}") from error


def _cut(text: str) -> str:
    """Whole lines of the text, as many as a pull request takes."""
    if len(text) <= LIMIT:
        return text
    end = text.rindex("\n", 0, LIMIT - len(_CUT))
    return text[: end + 1] + _CUT


# What a template can do with a node


def _print(value: object) -> str:
    """What becomes of an expression's value in a report."""
    if isinstance(value, _Text):
        return value
    if isinstance(value, Node):
        return _fixed(value)
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, jinja2.Undefined):
        return str(value)  # which raises
    raise TemplateError(f"a template prints {value!r}, which is from no record")


def _fixed(node: Node, decimals: int | None = None, bound: str = "") -> _Text:
    """A value with its citation; a number with so many decimals, rounded to the side of a bound."""
    value = node._value
    if value is None or value == "" or value == []:
        return _Text("–")
    if isinstance(value, bool):
        return _Text("yes" if value else "no")
    if isinstance(value, list):
        return _Text(" ".join(_fixed(inner) for inner in node))
    if isinstance(value, dict):
        raise TemplateError(f"a template prints all of {node._citation.path}")
    if isinstance(value, str):
        text = escape(value)
        return _Text(f"{text}{node._citation}" if numbers(text) else text)
    shown = str(value) if decimals is None else rounded(value, decimals, bound)
    return _Text(f"{shown}{node._citation}")


def _upto(node: Node, decimals: int) -> _Text:
    """A number as a bound: rounded up, so that it is true; text (Infinity) as it is."""
    if isinstance(node._value, int | float | Decimal):
        return _Text(f"≤ {_fixed(node, decimals, '<=')}")
    return _fixed(node)


def _count(node: Node, condition: str = "") -> Node:
    """How many items a list has, of those with `name=value` or `name!=value`."""
    return node._at(*([f"[{condition}]"] if condition else []), function="len")


def _total(node: Node, field: str, condition: str = "") -> Node:
    """The sum of a field of the items."""
    return node._at(f"[{condition}]" if condition else "*", field, function="sum")


def _key(node: Node) -> str:
    """The name a value has in its record."""
    return node._citation.path[-1]


def _argument(node: Node) -> _Text:
    """A value as a command takes it, without a citation: for a line that begins with "$ "."""
    return _Text(shlex.quote(str(node._value)))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # it writes Markdown, not HTML: `_print` escapes
        finalize=_print,
    )
    environment.filters |= {
        "fixed": _fixed,
        "upto": _upto,
        "count": _count,
        "total": _total,
        "key": _key,
        "argument": _argument,
    }
    return environment
