"""Where tiers, prompts and workflows are: inside the wheel, or at the root of a checkout."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from workbench.errors import TemplateError

_PACKAGE = Path(__file__).resolve().parent


def asset(name: str) -> Path:
    """The folder `tiers`, `prompts` or `workflows`: the wheel's copy if there is one, else the
    checkout's.
    """
    packaged = _PACKAGE / "_data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a file of data.

    Raises:
        TemplateError: it can't be read, or is no TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TemplateError(f"{file} can't be read: {error}") from error
