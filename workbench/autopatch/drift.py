"""Whether the recipes of a library still fit the transformers that is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from workbench.autopatch import Anatomy, text
from workbench.autopatch.sandboxed import Bench
from workbench.errors import EvidenceError, ModelError, UsageError
from workbench.evidence.document import Document
from workbench.layout import RECIPES, recipe
from workbench.repository import content_of
from workbench_kernels.patching.recipe import FILE, RecipeError


class Drift(BaseModel):
    """One recipe: for which transformers it was made, which classes have other code now, and what
    of it isn't so any more.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    made_for: str
    changed: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def types(root: Path) -> list[str]:
    """The types that have a recipe below `root`."""
    return sorted(path.parent.name for path in (root / RECIPES).glob(f"*/{FILE}"))


def check(root: Path, kinds: Sequence[str], tell: Callable[[str], None]) -> list[Drift]:
    """How the recipes of these types fare, or of all that have one.

    Raises:
        UsageError: a type has none.
        VerificationFailed: the process in the sandbox ended.
    """
    known = types(root)
    if unknown := [kind for kind in kinds if kind not in known]:
        raise UsageError(
            f"there is no recipe of {unknown[0]!r}", f"workbench autopatch {unknown[0]} makes one"
        )
    asked = list(kinds) or known
    found = []
    with Bench(root) as bench:
        for number, kind in enumerate(asked, start=1):
            tell(f"{number} of {len(asked)}: {kind}")
            found.append(_check(bench, root, kind))
    return found


def _check(bench: Bench, root: Path, kind: str) -> Drift:
    try:
        own = text.read(kind, content_of(root, recipe(kind)))
    except RecipeError as error:
        return Drift(type=kind, made_for="", wrong=(str(error),))
    seen = _seen(root, kind)
    asked = {"kind": kind, "config": seen.get("config", {}), "recipes": True}
    try:
        now = Anatomy.model_validate(bench.ask("look", **asked)[0])
    except ModelError as error:
        return Drift(type=kind, made_for=own.transformers, wrong=(str(error),))
    before = Anatomy.model_validate(seen["anatomy"]) if seen else now
    return Drift(
        type=kind,
        made_for=own.transformers,
        changed=tuple(before.changes(now)),
        wrong=tuple(text.differences(own, now)),
    )


def _seen(root: Path, kind: str) -> Mapping[str, Any]:
    """What was found when the recipe was proven; nothing where its evidence is not there."""
    try:
        evidence = Document.load_of(root, recipe(kind)).evidence
    except EvidenceError:
        return {}
    return evidence[0].data
