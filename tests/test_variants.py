"""Variants of an op that was judged: what counts as the same code, and what a fake comes to."""

from __future__ import annotations

from pathlib import Path

import pytest
from court import write_library

from workbench.authors import Assignment, get
from workbench.judge.variants import Examined, examine, same_code, verdict
from workbench.judge.verdict import MUTATION, Check, Verdict
from workbench.layout import op_paths
from workbench.profile import analyze
from workbench.reference import find

KERNEL = """
FORWARD = ByWidth({"elements": 1024, "per_thread": 16}, {8192: {"per_thread": 32}})
BLOCK = 7

def forward(x):
    return x + BLOCK
"""
DECLARED = '{"elements": 1024, "per_thread": 16}, {8192: {"per_thread": 32}}'


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (DECLARED, '{"elements": 64, "per_thread": 4}', True),
        (DECLARED, '{"elements": 64, "per_thread": 4}, {4: {"elements": 8}}', True),
        ("BLOCK = 7", "BLOCK = 7  # a comment", True),
        ("BLOCK = 7", "BLOCK = 8", False),
        ("x + BLOCK", "x", False),
        (DECLARED, "numbers()", False),
        ("FORWARD = ByWidth(", "FORWARD = Fixed(", False),
        ("FORWARD = ByWidth(", "BACKWARD = ByWidth(", False),
        (DECLARED, '{"elements": 1}, choices={"elements": (1, 2)}', False),
        ("def", "de f", False),
    ],
)
def test_the_same_code_differs_in_declared_numbers_alone(old: str, new: str, same: bool) -> None:
    assert old in KERNEL
    changed = KERNEL.replace(old, new)
    assert same_code({"kernel.py": KERNEL}, {"kernel.py": changed}) is same
    assert not same_code({"kernel.py": KERNEL}, {"kernel.py": changed, "wrapper.py": ""})


def test_a_verdict_on_a_variant_takes_over_what_is_not_its_own() -> None:
    said = [Check(name="spec", status="passed"), Check(name="forward", status="passed", cases=3)]
    mutation = Check(name=MUTATION, status="passed", cases=16)
    judged = Verdict(op="it", seed=1, files={"a": "0"}, checks=(*said, mutation))
    wrong = Check(name="forward", status="failed", message="y is 0")
    found = verdict(judged, {"kernel.py": "x"}, Examined(seed=2, checks=(wrong,), seconds=1.0))
    assert not found.passed and found.failures == [wrong]
    assert [check.name for check in found.checks] == ["forward", "spec", MUTATION]
    assert found.checks[2].message == "as it is of the same code with other launch parameters"
    assert found.seed == 2 and set(found.files) == {
        "a",
        "kernels/workbench_kernels/it/kernel.py",
    }


def test_each_variant_is_examined_by_itself(tmp_path: Path) -> None:
    """A fake between two honest ones fails, whatever it does to its process; they pass."""
    root = write_library(tmp_path)
    (root / "tests/kernels").mkdir(parents=True)
    reference = find("relu2")
    profile = analyze(reference, "relu2")
    get("draft").write(Assignment(profile=profile, reference=reference, root=root, folder=root))
    folder = root / op_paths("relu2")[0]
    sources = {name: (folder / name).read_text() for name in ("kernel.py", "wrapper.py")}

    def variant(old: str, new: str) -> dict[str, str]:
        assert old in sources["kernel.py"]
        return {**sources, "kernel.py": sources["kernel.py"].replace(old, new)}

    numbers = variant('"elements": 2048', '"elements": 256')
    exits = variant("    x = x.contiguous()\n", "    raise SystemExit(0)\n")
    found = examine(root, "relu2", {"one": numbers, "exits": exits, "again": numbers})
    failed = {
        name: [c.name for c in one.checks if c.status == "failed"] for name, one in found.items()
    }
    assert failed["one"] == failed["again"] == []
    assert {"forward", "own tests"} <= set(failed["exits"])
