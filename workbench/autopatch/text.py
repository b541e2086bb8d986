"""A recipe's text, and the recipe of a text that nobody vouches for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.autopatch import Anatomy, Part
from workbench.judge.scan import scan_code
from workbench.layout import RECIPES
from workbench.repository import Content
from workbench_kernels.patching.recipe import CODE, FILE, Recipe, RecipeError, parse

MOST_BYTES = 100_000


def path(kind: str) -> str:
    """Where the recipe of a type is."""
    return f"{RECIPES}/{kind}/{FILE}"


def code_path(kind: str) -> str:
    """Where code of its own is, if it needs any."""
    return f"{RECIPES}/{kind}/{CODE}"


def write(anatomy: Anatomy, leave: Mapping[tuple[str, str], str]) -> str:
    """The recipe of what serves a model, but for what is to be left alone (of a class and a kind,
    why).
    """
    head = [
        f"# How models of this type are patched, made by workbench autopatch {anatomy.type}.",
        *_lines({"type": anatomy.type, "transformers": anatomy.versions["transformers"]}),
    ]
    served = [
        {
            "class": part.name,
            "kind": part.kind,
            "kernel": part.kernel,
            "mode": part.mode,
            **part.hint,
        }
        for part in anatomy.served
        if (part.name, part.kind) not in leave
    ]
    left = [{"class": name, "kind": kind, "why": why} for (name, kind), why in leave.items()]
    tables = [("served", one) for one in served] + [("left", one) for one in left]
    blocks = [["", f"[[{name}]]", *_lines(fields)] for name, fields in tables]
    return "\n".join([*head, *(line for block in blocks for line in block)]) + "\n"


def _lines(fields: Mapping[str, Any]) -> Sequence[str]:
    # Strings of TOML are those of JSON, and Python's floats are its.
    return [
        f"{key} = {json.dumps(value) if isinstance(value, str) else repr(value)}"
        for key, value in fields.items()
        if value not in ("", None)
    ]


def read(kind: str, present: Content) -> Recipe:
    """The recipe that a run's files are; its code, if it has any, is not run.

    Raises:
        RecipeError: there is another file, one is no recipe or may not be run, or it is of another
            type.
    """
    own = path(kind)
    beside = code_path(kind)
    if others := sorted(set(present.files) - {own, beside}):
        raise RecipeError(f"{others[0]} is no part of a recipe: {FILE}, and {CODE} if it needs any")
    if own not in present.files:
        raise RecipeError(f"there is no {own}")
    texts = {file: _text(file, data) for file, data in present.files.items()}
    if beside in texts and (found := scan_code(CODE, texts[beside])):
        raise RecipeError("\n".join(map(str, found)))
    parsed = parse(texts[own])
    if parsed.type != kind:
        raise RecipeError(f"it is of the type {parsed.type!r}, not {kind!r}")
    return parsed


def _text(file: str, data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise RecipeError(f"{file} has {len(data):,} bytes, of at most {MOST_BYTES:,}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RecipeError(f"{file} is no text: {error}") from error


def differences(found: Recipe, anatomy: Anatomy) -> list[str]:
    """What a recipe says that isn't so of a model patched with it, and what it doesn't say."""
    served = {(p.name, p.kind, p.kernel, p.mode) for p in anatomy.served}
    said = {(one.name, one.kind, one.kernel, one.mode) for one in found.served}
    left = {(part.name, part.kind) for part in anatomy.left}
    reasons = {(part.name, part.kind): part.reason for part in anatomy.left}
    wrong = [
        f"{name} ({kind}) is not served by {kernel} {mode}: {_is(name, kind, anatomy, reasons)}"
        for name, kind, kernel, mode in sorted(said - served)
    ]
    unsaid = [f"{n} ({kind}) is served by {k} {mode}" for n, kind, k, mode in sorted(served - said)]
    idle = [f"no {one.name} ({one.kind}) is left" for one in found.left
            if (one.name, one.kind) not in left]  # fmt: skip
    return [*wrong, *(f"it does not say that {what}" for what in unsaid), *idle]


def _is(name: str, kind: str, anatomy: Anatomy, reasons: Mapping[tuple[str, str], str]) -> str:
    if (name, kind) in reasons:
        return reasons[name, kind]
    same: list[Part] = [p for p in anatomy.served if (p.name, p.kind) == (name, kind)]
    return f"{same[0].kernel} {same[0].mode} serves it" if same else "the model has none"
