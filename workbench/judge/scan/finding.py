"""What the scan says of a line."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict


class Finding(BaseModel):
    """A line that may not stay. `message` says what it is, why not, and what to do instead."""

    model_config = ConfigDict(frozen=True)

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{PurePosixPath(self.file).name}:{self.line}: {self.message} [{self.rule}]"


def shown(node: ast.AST) -> str:
    """The source of a node, short enough for a message."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
