"""Text that nobody vouches for."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text in one line, without what moves a terminal's cursor or can't be written."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
