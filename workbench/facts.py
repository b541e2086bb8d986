"""Lines of facts: a label, then facts joined by ` · `, wrapped where the console is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from workbench.errors import WorkbenchError
from workbench.text import printable

INDENT = 11
SEPARATOR = " · "


def print_facts(
    console: Console,
    label: str,
    facts: Sequence[str],
    style: str = "",
    separator: str = SEPARATOR,
) -> None:
    """One line of facts, wrapped to the console's width if it is a terminal."""
    width = max(console.width - INDENT, 20) if console.is_terminal else sys.maxsize
    first, *more = fill(map(printable, facts), width, separator)
    console.print(Text(f"{label:<{INDENT}}", style=style).append(first, style="not bold default"))
    for line in more:
        console.print(Text(" " * INDENT + line))


def fill(facts: Iterable[str], width: int, separator: str = SEPARATOR) -> list[str]:
    """Facts joined to lines of at most `width`: broken between facts, else between words."""
    lines = [""]
    for fact in facts:
        joined = f"{lines[-1]}{separator}{fact}" if lines[-1] else fact
        if len(joined) <= width:
            lines[-1] = joined
            continue
        first, *words = fact.split(" ")
        lines = [*lines, first] if lines[-1] else [first]
        for word in words:
            if len(lines[-1]) + 1 + len(word) <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
    return lines


def print_error(error: WorkbenchError) -> None:
    """What was wrong and what to do next, on standard error."""
    err = Console(stderr=True, highlight=False, markup=False, soft_wrap=not sys.stderr.isatty())
    first, *more = str(error).splitlines() or [type(error).__name__]
    print_facts(err, "error", [first], "bold red")
    for line in (*more, *error.hint.splitlines()):
        print_facts(err, "", [line])
