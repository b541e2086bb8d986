"""The tiers that come with the workbench, and what a broken tier folder is answered with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import TemplateError, UsageError
from workbench.tiers import known, tier, tiers

GOOD = """
number = 1
name = "one"
title = "one"
rule = "Everything."
admits = ["pointwise"]
dtypes = ["float32"]
shapes = [[1, 1]]
sweep = [[1024, 4096]]
"""


def write_tier(root: Path, text: str, name: str = "one") -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "tier.toml").write_text(text)
    (folder / "references.py").write_text(
        "def f(x): ...\ndef f_inputs(rows, cols): ...\ndef _g(x): ...\n"
    )
    return folder


def test_three_tiers_each_admitting_what_the_one_below_admits() -> None:
    elementwise, reduction, fused = tiers()
    assert [t.number for t in (elementwise, reduction, fused)] == [1, 2, 3]
    assert elementwise.admits < reduction.admits < fused.admits


@pytest.mark.parametrize("number", [1, 2, 3])
def test_sizes_cover_the_edges(number: int) -> None:
    shapes = tier(number).shapes
    widths = {cols for _, cols in shapes}
    assert len(set(shapes)) == len(shapes)
    assert any(rows == 1 for rows, _ in shapes)
    assert any(cols % 2 for cols in widths)
    assert any(cols & (cols - 1) == 0 for cols in widths)
    # An interpreter checks these: what is large belongs into the sweep.
    assert all(rows * cols <= 100_000 for rows, cols in shapes)


def test_catalogues_are_as_wide_as_promised_and_share_no_name() -> None:
    elementwise, reduction, fused = (t.references for t in tiers())
    assert len(elementwise) >= 28
    assert len(reduction) >= 20
    names = elementwise + reduction + fused
    assert len(set(names)) == len(names) == len(known())
    assert known()["relu2"].number == 1


def test_listing_the_names_does_not_import_torch() -> None:
    code = "import sys, workbench.tiers as t; t.known(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_the_public_functions_that_draw_no_inputs(tmp_path: Path) -> None:
    write_tier(tmp_path, GOOD)
    (tmp_path / "_common").mkdir()
    (found,) = tiers(tmp_path)
    assert found.references == ("f",)
    assert found.templates == tmp_path / "one" / "templates"


def test_unknown_number_lists_the_tiers() -> None:
    with pytest.raises(UsageError, match="no tier 7") as caught:
        tier(7)
    assert "1 (element-wise)" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("number = ", "tier.toml can't be read"),
        (GOOD.replace("number = 1", "number = 0"), "number: .* greater than 0"),
        (GOOD.replace('name = "one"', ""), "name: Field required"),
        (GOOD + 'colour = "red"', "colour: Extra inputs"),
        (GOOD.replace("[[1, 1]]", "[[1]]"), "shapes.0"),
    ],
)
def test_broken_toml_is_named_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    write_tier(tmp_path, text)
    with pytest.raises(TemplateError, match=reason):
        tiers(tmp_path)


def test_missing_toml(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(TemplateError, match=r"tier\.toml can't be read"):
        tiers(tmp_path)


def test_a_number_taken_twice(tmp_path: Path) -> None:
    write_tier(tmp_path, GOOD, "one")
    write_tier(tmp_path, GOOD, "other")
    with pytest.raises(TemplateError, match="are both tier 1"):
        tiers(tmp_path)


def test_catalogue_that_is_not_python(tmp_path: Path) -> None:
    (write_tier(tmp_path, GOOD) / "references.py").write_text("def f(:")
    with pytest.raises(TemplateError, match=r"references\.py can't be read"):
        _ = tiers(tmp_path)[0].references
