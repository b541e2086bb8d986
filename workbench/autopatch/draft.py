"""The recipe that needs no model's help: what the rules serve, with what was found to help them."""

from __future__ import annotations

from pathlib import Path

from workbench.authors import Patching, Written
from workbench.autopatch import text


def draft(patching: Patching) -> Written:
    """Write it."""
    anatomy, root = patching.anatomy, patching.root
    path = Path(text.path(anatomy.type))
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text.write(anatomy, patching.leave), encoding="utf-8")
    return Written((path,))
