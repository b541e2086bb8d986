"""Recipes: what is known of one type of transformers' models beside what the rules see.

A recipe is the file `recipes/<type>/recipe.toml`, made by `workbench autopatch` and reviewed by a
person:

    type = "olmo"
    transformers = "5.24.0"

    [[served]]
    class = "transformers.models.olmo.modeling_olmo.OlmoLayerNorm"
    kind = "norm"
    kernel = "layer_norm"
    mode = "rounded once"
    eps = 1e-05

    [[left]]
    class = "transformers.models.olmo.modeling_olmo.OlmoMLP"
    kind = "mlp"
    why = "its activations are to be looked at"

`eps`, and `weight` and `bias` (what the class calls them), are what no rule sees in a norm. Beside
it may be `rules.py`, with RULES for what is served by code of its own (`replaced.py`). None of it
is believed: what a recipe says is served is proven before it is, as everything else.
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from workbench_kernels.patching.rule import Rule, Verdict

FILE, CODE = "recipe.toml", "rules.py"
FOLDER = Path(__file__).parent / "recipes"
PARAMETERS = ("weight", "bias")


class RecipeError(ValueError):
    """A recipe that can't be read, and where."""


@dataclass(frozen=True)
class Served:
    """Modules of a class that a kernel serves. `names` are the class's own for `PARAMETERS`; `eps`
    is there where no attribute of a module is.
    """

    name: str
    kind: str
    kernel: str
    mode: str = ""
    eps: float | None = None
    names: Mapping[str, str] | None = None

    @property
    def hints(self) -> bool:
        """Whether it says what a rule can't see."""
        return self.eps is not None or self.names is not None


@dataclass(frozen=True)
class Left:
    """Modules of a class that are left as they are, and why."""

    name: str
    kind: str
    why: str


@dataclass(frozen=True)
class Recipe:
    """All of it, for models of one type, as seen with one version of transformers; `rules` are
    those of its own code.
    """

    type: str
    transformers: str
    served: tuple[Served, ...] = ()
    left: tuple[Left, ...] = ()
    rules: tuple[Rule, ...] = ()

    def leaves(self, kind: str, module: nn.Module) -> Verdict | None:
        """The verdict on a module that it says to leave; None for any other."""
        name = class_name(module)
        why = next((one.why for one in self.left if (one.name, one.kind) == (name, kind)), None)
        return None if why is None else Verdict(reason=f"the recipe of {self.type} says: {why}")

    def promises(self, kind: str, module: nn.Module) -> str:
        """What it says serves the module, in words; nothing if it says nothing of it."""
        name = class_name(module)
        kernels = (one.kernel for one in self.served if (one.name, one.kind) == (name, kind))
        kernel = next(kernels, None)
        said = f"the recipe of {self.type}, for transformers {self.transformers}, has {kernel}"
        return "" if kernel is None else said

    def hint(self, module: nn.Module) -> Served | None:
        """What it says of a norm that no rule can see."""
        name = class_name(module)
        return next((one for one in self.served if one.hints and one.name == name), None)


def class_name(module: nn.Module) -> str:
    """A module's class as recipes name it."""
    return f"{type(module).__module__}.{type(module).__qualname__}"


def parse(text: str) -> Recipe:
    """The recipe of a text.

    Raises:
        RecipeError: it is none.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"it is no TOML: {error}") from error
    head = _fields(given, "the recipe", {"type": str, "transformers": str}, {"served", "left"})
    return Recipe(
        **head,
        served=tuple(_served(one, number) for number, one in _tables(given, "served")),
        left=tuple(
            Left(**_named(_fields(one, f"left {number}", _ENTRY | {"why": str}, set())))
            for number, one in _tables(given, "left")
        ),
    )


def load(model_type: str, folder: Path = FOLDER) -> Recipe | None:
    """The recipe of a type, if there is one.

    Raises:
        RecipeError: it can't be read.
    """
    path = folder / model_type / FILE
    if not path.is_file():
        return None
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error
    return replace(found, rules=_rules(path.with_name(CODE), model_type))


def _rules(path: Path, model_type: str) -> tuple[Rule, ...]:
    """The rules that a file has, imported as the module it is in the library: what is bound to
    modules is pickled by that name.

    Raises:
        RecipeError: it can't be imported, or has none.
    """
    name = f"{__package__}.recipes.{model_type}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        return ()
    known = sys.modules.get(name)
    if known is None or known.__file__ != str(path):
        known = importlib.util.module_from_spec(spec)
        try:
            sys.modules[name] = known
            spec.loader.exec_module(known)
        except Exception as error:
            del sys.modules[name]
            raise RecipeError(f"{path}: {type(error).__name__}: {error}") from error
    rules: tuple[Rule, ...] | None = getattr(known, "RULES", None)
    if not isinstance(rules, tuple):
        raise RecipeError(f"{path} has no RULES")
    return rules


def of_model(model: nn.Module) -> tuple[Recipe, ...]:
    """The recipes of a model's type and of its parts' types, such as its part for text.

    Raises:
        RecipeError: one can't be read.
    """
    found = (load(name) for name in dict.fromkeys(_types(getattr(model, "config", None))))
    return tuple(recipe for recipe in found if recipe is not None)


def _types(config: Any) -> Iterable[str]:
    name = getattr(config, "model_type", None)
    if isinstance(name, str) and name:
        yield name
    for part in getattr(config, "sub_configs", None) or ():
        yield from _types(getattr(config, part, None))


_ENTRY: dict[str, type] = {"class": str, "kind": str}


def _served(given: Mapping[str, Any], number: int) -> Served:
    optional: dict[str, type] = {"mode": str, "eps": float, **dict.fromkeys(PARAMETERS, str)}
    known = {key: kind for key, kind in optional.items() if key in given}
    types = {**_ENTRY, "kernel": str, **known}
    fields = _fields(given, f"served {number}", types, set())
    names = {role: fields.pop(role) for role in PARAMETERS if role in fields}
    return Served(**_named(fields), names=names or None)


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """`class` is no name in Python."""
    return {"name" if key == "class" else key: value for key, value in fields.items()}


def _fields(
    given: Mapping[str, Any], where: str, types: Mapping[str, type], others: set[str]
) -> dict[str, Any]:
    """Those of these types, all of them, and nothing else there but `others`."""
    if unknown := sorted(given.keys() - types.keys() - others):
        raise RecipeError(f"{where} has an unknown {unknown[0]!r}")
    for key, kind in types.items():
        if type(given.get(key)) is not kind:
            raise RecipeError(f"{where} needs a {key!r}, a {kind.__name__}")
    return {key: given[key] for key in types}


def _tables(given: Mapping[str, Any], name: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    tables = given.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise RecipeError(f"{name!r} is to be [[{name}]] tables")
    return enumerate(tables, start=1)
