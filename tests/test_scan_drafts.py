"""The scan finds nothing in drafted ops."""

from __future__ import annotations

from functools import cache

import pytest

from workbench import tiers
from workbench.authors.draft import DraftAuthor
from workbench.judge.scan import scan
from workbench.profile import analyze
from workbench.reference import find


@cache
def drafted(name: str) -> dict[str, str]:
    reference = find(name)
    files = DraftAuthor().render(analyze(reference, name), reference)
    return {path.as_posix(): text for path, text in files.items()}


CATALOGUE = [name for tier in tiers.tiers() if tier.number < 3 for name in tier.references]
VARIED = (
    "relu2 swiglu rms_norm layer_norm softmax logsumexp masked_softmax mse pinball prelu "
    "cosine_similarity dpo_sigmoid"
).split()


@pytest.mark.parametrize("name", VARIED)
def test_a_drafted_op_passes(name: str) -> None:
    assert scan(drafted(name), name) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_drafted_op_passes(name: str) -> None:
    assert scan(drafted(name), name) == []
