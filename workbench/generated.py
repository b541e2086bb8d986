"""The part of a document that is written by a command: what lies between two comments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from workbench.errors import UsageError


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown. A cell is text in Markdown, too."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def replaced(text: str, begin: str, end: str, new: str, file: str) -> str:
    """The text with `new`, whole lines, between the lines `begin` and `end`.

    Raises:
        UsageError: it has no such place, or several.
    """
    between = re.compile(rf"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)
    if len(between.findall(text)) != 1:
        hint = f"a line {begin}, below it a line {end}"
        raise UsageError(f"{file} has no single place for the table", hint)
    return between.sub(lambda _: new, text)
