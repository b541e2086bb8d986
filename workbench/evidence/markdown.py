"""Values as Markdown text: they may hold anything, and must show as what they are."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[\\`*_{}\[\]|~]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# What GitHub would make a mention, a reference or a link of; an empty comment parts it.
_ALIVE = re.compile(r"[@#]|:(?=//)|\bwww(?=\.)", re.IGNORECASE)


def escape(value: str) -> str:
    """One line of text that no Markdown reads as anything else, in a table or outside."""
    line = " ".join(value.split())
    for character, entity in _ENTITIES.items():
        line = line.replace(character, entity)
    return _ALIVE.sub(r"\g<0><!---->", _SPECIAL.sub(r"\\\g<0>", line))
