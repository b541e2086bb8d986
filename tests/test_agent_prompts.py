"""What an author is told: its op, its spec, what may be said of a verdict, and no more."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from workbench.agent import findings, prompts
from workbench.assets import asset
from workbench.authors import Assignment
from workbench.authors.spec import spec
from workbench.authors.templates import environment
from workbench.bench.static import KernelUsage, StaticReport
from workbench.judge.verdict import Check, Verdict
from workbench.limits import Limits
from workbench.profile import analyze
from workbench.reference import find
from workbench.tiers import tier
from workbench.verification import specs

ROOT = Path(__file__).resolve().parents[1]


def assignment(op: str, folder: Path, root: Path = ROOT) -> Assignment:
    reference = find(op)
    profile = analyze(reference, op)
    found = ("backward: dx is wrong",)
    return Assignment(
        profile=profile, reference=reference, root=root, folder=folder, findings=found
    )


@pytest.mark.parametrize("op", ["swiglu", "rms_norm", "linear_cross_entropy", "rope", "sparsemax"])
def test_an_op_of_any_tier_has_a_spec_and_a_task(op: str, tmp_path: Path) -> None:
    """Also one that nobody can draft: its spec is its reference, and what surely must move."""
    given = assignment(op, tmp_path)
    text = spec(given.profile, given.reference)
    assert specs.consists_of(text.encode(), given.reference.text, given.reference.symbol)
    names: dict[str, object] = {}
    exec(text, names)
    made = names["SPEC"]
    assert (made.name, made.products) == (op, op == "linear_cross_entropy")  # type: ignore[attr-defined]
    task = prompts.task(given, text, tier(given.profile.tier).limits)
    assert text.strip() in task
    assert f"tier {given.profile.tier}" in task.splitlines()[0]
    assert "{#" not in prompts.system(given)
    closest = [example.path for example in prompts.closest(given)]
    assert closest[0].endswith("/spec.py") and f"/{op}/" not in closest[0]


def test_the_closest_op_is_of_the_same_tier(tmp_path: Path) -> None:
    assert "/glu/" in prompts.closest(assignment("swiglu", tmp_path))[0].path
    (tmp_path / "empty").mkdir()
    assert prompts.closest(assignment("swiglu", tmp_path, tmp_path / "empty")) == []


def test_no_example_is_taken_from_outside(tmp_path: Path) -> None:
    """A library's link to a file of the user's is not followed, and nothing of it is told."""
    (tmp_path / "secret.py").write_text("secret, tier=1")
    for name, link in (("one", "spec.py"), ("two", "kernel.py")):
        folder = tmp_path / "root" / "kernels" / "workbench_kernels" / name
        folder.mkdir(parents=True)
        (folder / "spec.py").write_text("tier=2")
        (folder / link).unlink(missing_ok=True)
        (folder / link).symlink_to(tmp_path / "secret.py")
    (example,) = prompts.closest(assignment("swiglu", tmp_path, tmp_path / "root"))
    assert (example.path.split("/")[2:], example.text) == (["two", "spec.py"], "tier=2")


def test_a_repair_says_how_many_are_left(tmp_path: Path) -> None:
    given = assignment("relu2", tmp_path)
    assert "mended once more." in prompts.repair(given, 0, Limits(repairs=2))
    assert "It is the last time." in prompts.repair(given, 0, Limits(repairs=1))
    assert (tmp_path / "prompts" / "repair-1.md").is_file()


def test_every_prompt_names_its_variables_and_may_use_no_other() -> None:
    for file in sorted((asset("prompts") / prompts.WORKFLOW).glob("*.j2")):
        first = file.read_text().splitlines()[0]
        assert first.startswith("{# variables: ")
        if "none" not in first:
            with pytest.raises(jinja2.UndefinedError):
                environment(file.parent).get_template(file.name).render()


def failed(name: str, message: str) -> Check:
    return Check(name=name, status="failed", cases=3, message=message)


def test_a_verdict_is_told_without_what_it_was_compared_with() -> None:
    wrong = "dx at row 0, column 5 is 0.857916, truth 1.71583, eager 1.71584"
    checks = (
        failed(
            "backward", f"2 of 3 cases, first 1x7-float32: {wrong}; error 3e+06x what eager's is"
        ),
        failed("unseen shapes", f"2 of 3 cases, first 37x411-float32: {wrong}"),
        failed("nan and infinity", "nan-float32: y at row 1, column 2 is 0, truth nan, eager inf"),
        Check(name="forward", status="passed", cases=3),
    )
    said = findings.findings(Verdict(op="relu2", seed=987654321, checks=checks))
    assert said.splitlines() == [
        "3 of 4 checks failed",
        "backward: 2 of 3 cases, first 1x7-float32: dx at row 0, column 5 is 0.857916;"
        " error 3e+06x what eager's is",
        "unseen shapes: wrong at sizes that the spec does not name",
        "nan and infinity: nan-float32: y at row 1, column 2 is 0",
    ]
    for hidden in ("truth", "1.7158", "37x411", "987654321"):
        assert hidden not in said
    long = findings.findings(Verdict(op="relu2", seed=1, checks=[failed("x", "y" * 900)] * 90))
    assert len(long) <= findings.MOST_CHARACTERS
    passed = Verdict(op="relu2", seed=987654321, checks=checks[3:])
    assert findings.findings(passed) == "passed: 3 cases · 0 of 1 checks failed"


def test_what_the_compiler_says_is_told_kernel_by_kernel() -> None:
    usage = KernelUsage(
        kernel="_relu2_fwd", target="sm_90", cols=4096, dtype="bfloat16", registers=31,
        spill_bytes=0, shared_bytes=0, num_warps=4, loads=2, wide_loads=2, stores=1,
        wide_stores=1, instructions=90, occupancy=0.875,
    )  # fmt: skip
    report = StaticReport(
        op="relu2", triton="3.7", torch="2.13", targets=("sm_90",), dtypes=("bfloat16",),
        kernels=(usage,), failures=("sm_80: it doesn't compile",),
    )  # fmt: skip
    said = findings.of_report(report).splitlines()
    assert said[1] == "sm_80: it doesn't compile"
    assert said[2].startswith("_relu2_fwd sm_90 4096 columns bfloat16: 31 registers, 0 bytes sp")
