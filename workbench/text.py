"""Text that nobody vouches for."""

from __future__ import annotations

import re

# Of a message nobody reads more: what is longer is cut, and says so.
MOST_LINES, LONGEST_LINE = 100, 2000
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def printable(text: str) -> str:
    """The text in one line, without colours, what moves a terminal's cursor or can't be written."""
    plain = _COLOUR.sub("", text)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)


def printable_lines(text: str) -> str:
    """The text line by line, each of them `printable`; only so much of it."""
    lines = [_cut(printable(line)) for line in text.split("\n")]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"... and {len(lines) - MOST_LINES} more lines"]
    return "\n".join(lines)


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 4] + " ..."
