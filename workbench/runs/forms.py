"""What `workbench new` is given, where that is no file of a person's: words, or a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.errors import UsageError
from workbench.runs import Commission, Request

# Of a description; what is longer is no description.
MOST_CHARACTERS = 20_000


def wanted(
    op: str, reference: str | None, describe: str | None, from_class: str | None
) -> tuple[str, Commission] | None:
    """Where a reference comes from that no person wrote, and what it is to be written from; None
    where a person did.

    Raises:
        UsageError: several forms are given, or one of them wrongly.
        BadReference: there is no such class.
    """
    forms = {"--reference": reference, "--describe": describe, "--from": from_class}
    named = [name for name, value in forms.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} each say what the op is", "give one of them")
    if describe is not None:
        return described(describe)
    return None if from_class is None else taken_from(from_class, op)


def described(words: str) -> tuple[str, Commission]:
    """Where a reference comes from that is described in words, and what it is written from.

    Raises:
        UsageError: there are none, or too many.
    """
    if not words.strip():
        raise UsageError("the description is empty", '--describe "softmax over the last dimension"')
    if len(words) > MOST_CHARACTERS:
        raise UsageError(
            f"the description has {len(words):,} characters, of at most {MOST_CHARACTERS:,}"
        )
    return "described in words", Commission(words=words.strip())


def taken_from(target: str, op: str) -> tuple[str, Commission]:
    """Where a reference comes from that is a class's forward, and what it is written from.

    Raises:
        UsageError: it's not of the form PACKAGE:MODULE.CLASS, or not installed.
        BadReference: there is no such class.
    """
    from workbench import modules

    found = modules.find(target)
    return target, Commission(source=found.shown, derived=modules.derive(found, op))


def request(
    op: str,
    origin: str,
    commission: Commission,
    tier: int | None,
    force_tier: bool,
    author: str,
    options: Mapping[str, Any],
) -> Request:
    """What `workbench new` asks for, where no person wrote the reference.

    Raises:
        UsageError: no such tier, or an author that can't write a reference where one must.
    """
    from workbench import authors, tiers

    if tier is not None:
        tiers.tier(tier)
    if not commission.derived:
        authors.definer(author)
    return Request(
        op=op,
        origin=origin,
        reference={},
        commission=commission,
        tier=tier,
        force_tier=force_tier,
        author=author,
        options=dict(options),
    )
