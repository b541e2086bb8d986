"""Every op the catalogues of tiers 1 and 2 know, drafted and judged as a run would judge it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from workbench import judge, tiers
from workbench.authors import Assignment, get
from workbench.profile import analyze
from workbench.reference import find

ROOT = Path(__file__).resolve().parent.parent
NAMES = [name for tier in tiers.tiers() if tier.number < 3 for name in tier.references]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the library, to draft into."""
    root = tmp_path_factory.mktemp("repository")
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("kernels", "workbench"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    (root / "tests").mkdir()
    shutil.copy(ROOT / "tests/conftest.py", root / "tests")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_passes_verification(name: str, library: Path) -> None:
    reference = find(name)
    profile = analyze(reference, name)
    get("draft").write(
        Assignment(profile=profile, reference=reference, root=library, folder=library)
    )
    verdict = judge.verify(library, name)
    assert verdict.passed, "\n".join(f"{c.name}: {c.message}" for c in verdict.failures)


def test_the_catalogues_are_as_large_as_promised() -> None:
    sizes = {tier.number: len(tier.references) for tier in tiers.tiers()}
    assert sizes[1] >= 25
    assert sizes[2] >= 15
