"""The tiers: what each admits, the sizes it is checked and timed at, the references it knows.

A tier is a folder: `tier.toml` (rule and limits), `references.py` (its catalogue) and `templates/`.
Names are read from the catalogue's text, so listing them neither runs it nor imports torch.
"""

from __future__ import annotations

import ast
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from workbench.assets import asset, read_toml
from workbench.errors import TemplateError, UsageError
from workbench.limits import Limits

INPUTS_SUFFIX = "_inputs"
Shape = tuple[PositiveInt, PositiveInt]


class Tier(BaseModel):
    """One tier. `admits` are the categories of traced nodes it allows; shapes are (rows, cols);
    `limits` are those of an author that costs something.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    number: PositiveInt
    name: str
    title: str
    rule: str
    admits: frozenset[str]
    dtypes: tuple[str, ...]
    shapes: tuple[Shape, ...]
    sweep: tuple[Shape, ...]
    limits: Limits = Limits()

    @property
    def templates(self) -> Path:
        """The folder of its Jinja2 file templates."""
        return self.folder / "templates"

    @property
    def catalogue(self) -> Path:
        """The file of the references it knows by name."""
        return self.folder / "references.py"

    @cached_property
    def references(self) -> tuple[str, ...]:
        """The names in its catalogue, in file order: its public functions that don't draw inputs.

        Raises:
            TemplateError: the catalogue is missing or isn't Python.
        """
        try:
            module = ast.parse(self.catalogue.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, SyntaxError) as error:
            raise TemplateError(f"{self.catalogue} can't be read: {error}") from error
        names = (node.name for node in module.body if isinstance(node, ast.FunctionDef))
        return tuple(n for n in names if not n.startswith("_") and not n.endswith(INPUTS_SUFFIX))


def tiers(root: Path | None = None) -> list[Tier]:
    """The tiers below `root` (by default those that come with the workbench), by number.

    Raises:
        TemplateError: a tier.toml is missing, broken or incomplete, or a number is taken twice.
    """
    root = root or asset("tiers")
    folders = [f for f in root.iterdir() if f.is_dir() and not f.name.startswith(("_", "."))]
    found = sorted(map(_read, folders), key=lambda tier: tier.number)
    for one, other in pairwise(found):
        if one.number == other.number:
            raise TemplateError(f"{one.folder} and {other.folder} are both tier {one.number}")
    return found


def tier(number: int) -> Tier:
    """The tier of that number.

    Raises:
        UsageError: there is none.
    """
    found = {t.number: t for t in tiers()}
    if number not in found:
        there_are = ", ".join(f"{t.number} ({t.title})" for t in found.values())
        raise UsageError(f"there is no tier {number}", hint=f"the tiers are {there_are}")
    return found[number]


def known() -> dict[str, Tier]:
    """Every name a catalogue knows, with its tier."""
    return {name: t for t in tiers() for name in t.references}


def _read(folder: Path) -> Tier:
    file = folder / "tier.toml"
    try:
        return Tier(folder=folder, **read_toml(file))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise TemplateError(f"{file}: {field}: {first['msg']}") from error
