"""Evidence and what is rendered from it: a byte, a digit or a sentence too much is found."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs_fixtures import (
    APPROVER,
    CHECKS,
    MACHINE,
    check,
    engine,
    generate,
    git,
    library,
    request,
    seen,
    verdict,
    verify,
)

from workbench.bench.static import StaticReport
from workbench.errors import EvidenceError, RunError, StorageError, TemplateError, UsageError
from workbench.evidence import Evidence, render
from workbench.evidence.archive import Archive
from workbench.evidence.check import Checked, check_file, check_text
from workbench.evidence.citation import Citation
from workbench.evidence.document import Document, problems
from workbench.evidence.machine import this_machine, this_workbench
from workbench.evidence.make import of_report, of_verdict
from workbench.evidence.numbers import hidden, numbers
from workbench.judge.verdict import Check, MutantResult, Verdict
from workbench.layout import evidence_path
from workbench.repository import content
from workbench.runs import Run, StageResult, State
from workbench.runs.engine import Context, Engine

__all__ = ["library"]
ROOT = Path(__file__).parents[1]
EVIDENCE = evidence_path("relu2")
KERNEL = "kernels/workbench_kernels/relu2/kernel.py"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def record(data: dict[str, Any] | None = None, **other: Any) -> Evidence:
    """A record of no run."""
    given: dict[str, Any] = {
        "kind": "verification",
        "op": "relu2",
        "files": {KERNEL: "0" * 64},
        "library": {},
        "seed": 7,
        "recipe": {"inputs": "drawn from the seed"},
        "machine": MACHINE,
        "versions": {"torch": "2.13.0+cpu"},
        "created": "2026-08-01T12:30:00Z",
        "workbench": {},
        "summary": (),
        "data": verdict(*CHECKS) if data is None else data,
    }
    return Evidence.model_validate(given | other)


class Known:
    """Records that are known, of files that never change."""

    def __init__(self, *records: Evidence) -> None:
        self.damaged: dict[str, str] = {}
        self._records = records

    def find(self, begins: str) -> Evidence:
        for known in self._records:
            if known.id.startswith(begins):
                return known
        raise EvidenceError(f"there is no record {begins}")

    def changes(self, evidence: Evidence) -> list[str]:
        return []


# A record


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_record_is_read_as_it_was_written(data: dict[str, Any]) -> None:
    made = record(data)
    again = Evidence.read(made.text, made.id)
    assert (again, again.id, again.text) == (made, made.id, made.text)


@given(st.floats())
def test_a_float_loses_nothing(value: float) -> None:
    made = record({"samples": [value]})
    (kept,) = Evidence.read(made.text, made.id).data["samples"]
    if math.isfinite(value):
        assert (kept, math.copysign(1, kept)) == (value, math.copysign(1, value))
    else:
        assert kept in ("NaN", "Infinity", "-Infinity")
        assert str(float(kept)) == str(value)


@settings(max_examples=50)
@given(st.data())
def test_a_changed_byte_is_found(data: st.DataObject) -> None:
    made = record()
    raw = bytearray(made.text.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 127))
    with pytest.raises(EvidenceError, match="was changed"):
        Evidence.read(raw.decode("utf-8", "surrogateescape"), made.id)


def test_a_record_holds_text_that_no_file_could() -> None:
    made = record({"message": "half a pair: \udc80"})
    assert made.data["message"] == "half a pair: ?"
    assert Evidence.read(made.text, made.id) == made


def test_a_record_holds_nothing_that_json_can_not_say() -> None:
    with pytest.raises(TypeError, match="can't hold set"):
        record({"names": {"a", "b"}})


def test_a_record_of_a_newer_workbench_says_so() -> None:
    text = record().text.replace('"kind":"verification"', '"kind":"prophecy"')
    with pytest.raises(EvidenceError, match="no evidence this workbench knows: kind") as caught:
        Evidence.read(text, hashlib.sha256(text.encode()).hexdigest())
    assert "newer workbench" in caught.value.hint


def test_a_verdict_becomes_a_record_with_all_it_says() -> None:
    checks = (Check(name="forward", status="failed", cases=3, forward_error=123.456),)
    mutants = (MutantResult(name="zero", description="y is 0", fate="killed"),)
    found = Verdict(
        op="relu2", seed=7, sandbox="bubblewrap", files={KERNEL: "0" * 64}, checks=checks,
        mutants=mutants, library={"kernels/workbench_kernels/op.py": "1" * 64},
        versions={"torch": "2.13.0"}, interpreted=True, dtypes=("float32",),
    )  # fmt: skip
    made = of_verdict(found)
    assert not made.passed
    assert made.data["checks"][0]["forward_error"] == 123.456
    assert Verdict.model_validate(made.data) == found
    assert (made.seed, made.files, made.library) == (7, found.files, found.library)
    assert made.machine == this_machine("bubblewrap")
    assert made.versions["torch"] == "2.13.0"
    assert "| ≤ 123.46<!--=" in render.report([made])


def test_a_static_report_becomes_a_record(tmp_path: Path) -> None:
    found = StaticReport(op="relu2", triton="3.6.0", torch="2.13.0", targets=("sm_90",), dtypes=())
    made = of_report(found, tmp_path, {KERNEL: "0" * 64}, ["no GPU"])
    assert (made.kind, made.seed, made.passed, made.summary) == (
        "compilation",
        None,
        True,
        ("no GPU",),
    )
    assert not of_report(
        found.model_copy(update={"failures": ("sm_90: no",)}), tmp_path, {}, []
    ).passed


def test_the_machine_and_the_workbench_are_known() -> None:
    machine = this_machine()
    assert machine.os.startswith("Linux ")
    assert machine.cpu
    assert machine.cores >= 1
    assert this_workbench()["version"]


# In the library


def committed(root: Path) -> tuple[Engine, Run]:
    """The engine, and a run whose commit is in the checkout."""
    runs = engine(root)
    run = runs.approve(runs.start(request()).id, APPROVER)
    git(root, "merge", "--quiet", f"workbench/{run.id}")
    return runs, run


def test_the_commit_holds_what_was_seen_of_its_files(library: Path) -> None:
    runs, run = committed(library)
    document = Document.load(library, "relu2")
    assert [evidence.kind for evidence in document.evidence] == ["verification", "compilation"]
    assert document.files == content(library, "relu2").digests
    assert run.approval is not None
    assert run.approval.evidence == [evidence.id for evidence in document.evidence]
    assert document.evidence == runs.store.evidence(run=run.id)
    message = git(library, "log", "-1", "--format=%B", f"workbench/{run.id}")
    assert "verification: 4 cases · 0 failed\ncompilation: no GPU\n" in message
    assert problems(library) == {}


def test_the_message_of_the_commit_is_the_evidences(library: Path) -> None:
    def boasts(context: Context) -> StageResult:
        return verify(context).model_copy(update={"summary": ["1000 times faster"]})

    runs = engine(library, verify=boasts)
    run = runs.approve(runs.start(request()).id, APPROVER)
    message = git(library, "log", "-1", "--format=%B", f"workbench/{run.id}")
    assert "verification: 4 cases · 0 failed" in message
    assert "1000" not in message


def test_an_author_that_writes_its_own_evidence_fails(library: Path) -> None:
    def forges(context: Context) -> StageResult:
        result = generate(context)
        (context.root / EVIDENCE).write_text("{}\n")
        return result

    run = engine(library, generate=forges).start(request())
    assert run.state is State.FAILED
    assert run.reason == f"generate: generate touched what is not the op's: {EVIDENCE}"


def test_evidence_laid_down_at_the_gate_is_not_committed(library: Path) -> None:
    runs = engine(library)
    run = runs.start(request())
    (library / ".workbench" / "worktrees" / run.id / EVIDENCE).write_text("{}\n")
    runs.approve(run.id, APPROVER)
    git(library, "merge", "--quiet", f"workbench/{run.id}")
    assert problems(library) == {}


def other_files(context: Context) -> StageResult:
    result = verify(context)
    files = {**result.evidence[0].files, KERNEL: "0" * 64}
    return result.model_copy(
        update={"evidence": [result.evidence[0].model_copy(update={"files": files})]}
    )


def other_op(context: Context) -> StageResult:
    result = verify(context)
    return result.model_copy(
        update={"evidence": [result.evidence[0].model_copy(update={"op": "silu"})]}
    )


def no_record(context: Context) -> StageResult:
    return StageResult(summary=["all is well, believe me"])


def said_no(context: Context) -> StageResult:
    found = verdict(check("forward", status="failed"), passed=False)
    return StageResult(summary=[], evidence=[seen(context, "verification", [], found)])


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        (other_files, r"is not of these files: .*kernel\.py was changed"),
        (other_op, "is not of these files: it is of silu"),
        (no_record, "there is no evidence of a verification"),
        (said_no, "did not pass"),
    ],
)
def test_without_evidence_of_it_nothing_reaches_the_review(
    library: Path, stage: Callable[[Context], StageResult], says: str
) -> None:
    runs = engine(library, verify=stage)
    run = runs.start(request())
    assert run.state is State.FAILED
    with pytest.raises(RunError, match=says):
        runs.approve(run.id, APPROVER)


def test_a_record_that_was_changed_in_the_store_is_not_approved(library: Path) -> None:
    runs = engine(library)
    run = runs.start(request())
    with sqlite3.connect(runs.store.path) as database:
        database.execute("DROP TRIGGER evidence_is_not_changed")
        database.execute("UPDATE evidence SET record = replace(record, '0.9057', '0.1057')")
    with pytest.raises(EvidenceError, match="was changed: its content's hash is"):
        runs.approve(run.id, APPROVER)
    with sqlite3.connect(runs.store.path) as database:
        database.execute("DROP TRIGGER evidence_is_not_deleted")
        database.execute("DELETE FROM evidence")
    with pytest.raises(EvidenceError, match="has lost its evidence"):
        runs.approve(run.id, APPROVER)


def test_the_librarys_own_evidence_is_intact() -> None:
    assert problems(ROOT) == {}


EDITS: dict[str, Callable[[str], str]] = {
    "a digit": lambda text: text.replace("0.9057", "0.1057"),
    "a space": lambda text: text + " ",
    "an id": lambda text: text.replace('"id": "', '"id": "0', 1),
    "the files": lambda text: text.replace('relu2/kernel.py": "', 'relu2/kernel.py": "0', 1),
    "a key twice": lambda text: text.replace(
        '"op": "relu2"\n}', '"op": "silu",\n "op": "relu2"\n}'
    ),
    "all of it": lambda text: "[]",
    "its end": lambda text: text[:-10],
    "its records": lambda text: json.dumps(json.loads(text) | {"evidence": {}}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_evidence_edited_by_hand_is_found(library: Path, edit: str) -> None:
    committed(library)
    path = library / EVIDENCE
    before = path.read_text()
    path.write_text(EDITS[edit](before))
    assert path.read_text() != before
    assert list(problems(library)) == [EVIDENCE]


def test_evidence_that_is_not_of_its_files_is_found(library: Path) -> None:
    committed(library)
    (library / KERNEL).write_text("another\n")
    (problem,) = problems(library).values()
    assert problem.endswith("kernel.py was changed")
    git(library, "checkout", "--quiet", ".")
    folder = library / "kernels" / "workbench_kernels"
    shutil.copytree(folder / "relu2", folder / "silu")
    (problem,) = problems(library).values()
    assert "about another op" in problem


# The whole way


@pytest.fixture
def written(library: Path) -> tuple[Path, Archive]:
    """A library with an op, the report on it, and the archive of its records."""
    runs, _ = committed(library)
    archive = Archive(runs.repository, runs.store)
    report = library / "report.md"
    report.write_text(render.report(archive.about("relu2")))
    return report, archive


def again(report: Path, archive: Archive) -> Checked:
    """The report checked by a process that has seen nothing yet."""
    return check_file(report, Archive(archive.repository, archive._store))


def test_a_report_is_what_was_recorded(written: tuple[Path, Archive]) -> None:
    checked = again(*written)
    assert checked.passed
    assert (checked.numbers > 30, len(checked.records)) == (True, 2)


def test_the_first_line_is_the_verdict(written: tuple[Path, Archive]) -> None:
    text = hidden(written[0].read_text()).replace("\ue000", "")
    assert text.startswith("**relu2: verified**, 0 of 4 checks failed, 4 cases in float32 bfloat16")
    assert "| backward | passed | 1 | – | ≤ 1.02 |" in text
    assert "- clock: there is no GPU\n" in text
    assert "killed 1 and missed 1;" in text
    assert "$ workbench verify relu2 --seed 1234567\n" in text


def test_every_digit_of_a_report_counts(written: tuple[Path, Archive]) -> None:
    """Whichever is changed, that number is found, and where it stands."""
    report, archive = written
    text = report.read_text()
    shown = hidden(text)
    for token in numbers(shown):
        at = next(n for n in range(token.start, token.end) if text[n].isdigit())
        digit = "8" if text[at] != "8" else "9"
        changed = text[:at] + digit + text[at + 1 :]
        found = check_text(changed, archive).findings
        line = text.count("\n", 0, at) + 1
        column = token.start - text.rfind("\n", 0, token.start)
        assert (line, column) in {(f.line, f.column) for f in found}, token


def test_a_sentence_too_much_is_found(written: tuple[Path, Archive]) -> None:
    report, archive = written
    text = report.read_text()
    report.write_text(text + "It is 3.5x faster.\n")
    (finding,) = again(report, archive).findings
    assert (finding.token, finding.problem) == ("3.5x", "no record says this number")
    assert (finding.line, finding.column) == (text.count("\n") + 1, 7)


def test_a_byte_of_the_kernel_too_much_is_found(written: tuple[Path, Archive]) -> None:
    report, archive = written
    (report.parent / KERNEL).write_text("another\n")
    findings = again(report, archive).findings
    assert len(findings) == 2  # once for each record
    assert all(f"{KERNEL} was changed" in finding.problem for finding in findings)


def test_evidence_edited_by_hand_fails_the_report(written: tuple[Path, Archive]) -> None:
    report, archive = written
    path = report.parent / EVIDENCE
    path.write_text(path.read_text().replace("0.9057", "0.9056"))
    (finding,) = again(report, archive).findings
    assert (finding.file, finding.line) == (EVIDENCE, 1)


def test_a_clone_without_the_runs_knows_the_records(
    written: tuple[Path, Archive], tmp_path: Path
) -> None:
    report, _ = written
    git(tmp_path, "clone", "--quiet", str(report.parent), "clone")
    clone = engine(tmp_path / "clone")
    archive = Archive(clone.repository, clone.store)
    assert check_file(report, archive).passed
    assert render.report(archive.about("relu2")) == report.read_text()


@pytest.mark.parametrize("moment", ["review", "committed"])
def test_a_run_has_a_report_before_it_is_merged(library: Path, moment: str) -> None:
    runs = engine(library)
    run = runs.start(request())
    if moment == "committed":
        run = runs.approve(run.id, APPROVER)
    archive = Archive(runs.repository, runs.store)
    text = render.report(archive.about(run.id[:7]))
    assert check_text(text, archive).passed
    if moment == "review":
        (library / ".workbench" / "worktrees" / run.id / KERNEL).write_text("edited\n")
        assert not check_text(text, archive).passed


def test_a_failed_run_has_a_report_too(library: Path) -> None:
    runs = engine(library, verify=said_no)
    archive = Archive(runs.repository, runs.store)
    text = render.report(archive.about(runs.start(request()).id))
    assert text.startswith("**relu2: NOT verified**, 1<!--=")
    assert "## What failed\n\n- forward: " in text
    assert check_text(text, archive).passed


def test_files_that_are_gone_are_not_as_recorded(library: Path) -> None:
    runs = engine(library)
    run = runs.start(request())
    archive = Archive(runs.repository, runs.store)
    text = render.report(archive.about(run.id))
    runs.reject(run.id, "no")
    (first, *_) = check_text(text, archive).findings
    assert f"{KERNEL} was removed" in first.problem


def test_a_report_on_nothing(library: Path) -> None:
    def gives_nothing(context: Context) -> StageResult:
        raise EvidenceError("nothing was seen")

    runs = engine(library, verify=gives_nothing)
    archive = Archive(runs.repository, runs.store)
    with pytest.raises(RunError, match="no run 'relu2'"):
        archive.about("relu2")
    with pytest.raises(EvidenceError, match="nothing was seen"):
        runs.start(request())
    with pytest.raises(EvidenceError, match="has no evidence: nothing was verified yet"):
        archive.about("relu2")
    (library / "kernels/workbench_kernels/silu").mkdir()
    (library / "kernels/workbench_kernels/silu/spec.py").touch()
    with pytest.raises(EvidenceError, match="silu has no evidence"):
        archive.about("silu")


# Rendering

MESSAGES = st.text(max_size=60) | st.sampled_from(
    [
        "dx is wrong at (3, 1000)",
        "| 3.5x | faster |",
        "<!--=0-->",
        "&#51;",
        "@ada #12",
        "`1`",
        "1\\",
    ]
)
ERRORS = st.none() | st.floats(min_value=0) | st.just(math.nan)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(["passed", "failed", "skipped"]), MESSAGES, ERRORS)))
def test_whatever_was_found_a_report_of_it_holds(found: list[tuple[str, str, float]]) -> None:
    checks = [
        check(f"check{n}", status=status, message=message, forward_error=error)
        for n, (status, message, error) in enumerate(found)
    ]
    made = record(verdict(*checks))
    text = render.report([made])
    assert check_text(text, Known(made)).passed
    table = [line for line in text.splitlines() if line.startswith("| check")]
    assert len(table) == len(checks) + 1
    assert {line.replace("\\|", "").count("|") for line in table} == {6}


def test_a_report_fits_a_pull_request() -> None:
    checks = [check(f"check{n}", message="x" * 900, status="failed") for n in range(99)]
    made = record(verdict(*checks, passed=False))
    text = render.report([made])
    assert len(text) <= 60_000
    assert text.endswith("*Cut here; the rest is in the evidence.*\n")
    assert check_text(text, Known(made)).passed


def test_a_report_needs_a_verification() -> None:
    with pytest.raises(EvidenceError, match="no verification"):
        render.report([record({"kernels": []}, kind="compilation")])


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("It is {{ 3.5 }}x faster.", "prints 3.5, which is from no record"),
        ("It is 3.5x faster.", "no record says this number"),
        ('It is {{ "3.5" }}x faster.', "no record says this number"),
        ("seed {{ verification.seed | argument }}", "no record says this number"),
        ("{{ verification.data.speedup }}", "has no attribute 'speedup'"),
        ("{{ verification.data }}", "prints all of"),
        ("{{ speedup }}", "'speedup' is undefined"),
        ("{% if %}", "Expected an expression"),
    ],
)
def test_a_template_prints_nothing_of_its_own(
    template: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.md.j2").write_text(template)
    monkeypatch.setattr(render, "_TEMPLATES", tmp_path)
    render._environment.cache_clear()
    try:
        with pytest.raises(TemplateError, match=says):
            render.report([record()])
    finally:
        render._environment.cache_clear()


# What a number is


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("float32 sm_90 relu2 bf16 x86_64 H100 L2 _90 kernel.py test_relu2.py relu(x)²", []),
        ("deadbeef01 0a1b2c3d4e5f 896c6ee51370f0d6b3355d92479fd199bed29ae3", []),
        ("no number in here at all", []),
        ("1. one\n2. two\n   1. a\n   2. b\n3. three\n> 1. four", []),
        ("```console\n$ sleep 3\n```\n~~~sh\n$ ls -1\n~~~", []),
        ("0.91", ["0.91"]),
        ("**0.91** `4` | 5 | (6) [7] =8", ["0.91", "4", "5", "6", "7", "8"]),
        ("3.2ms 80GB 1.9x 3× 85% 85 %", ["3.2ms", "80GB", "1.9x", "3", "85%", "85"]),
        ("2nd 3D", ["2nd", "3D"]),
        ("x3 faster", ["x3"]),
        ("1,024 1 024 12,345.6", ["1,024", "1", "024", "12,345.6"]),
        ("1_000 3\u202f000", ["1_000", "3\u202f000"]),
        ("1e-5 1.5E6 2.5e+3x", ["1e-5", "1.5E6", "2.5e+3x"]),
        ("3-5 3–5 -5 (−5)", ["3", "5", "3", "5", "-5", "−5"]),
        ("1/3 4096x4096 10^5 2^31", ["1", "3", "4096x", "4096", "10", "5", "2", "31"]),
        ("2.13.0+cpu 2.13+cpu v2.0 python3.11", ["2.13.0+cpu", "2.13+cpu", "v2.0", "python3.11"]),
        ("on 2026-08-01 at 12:30", ["2026-08-01", "12:30"]),
        ("2026-08-01T12:30:00Z.", ["2026-08-01T12:30:00Z"]),
        ("½ 3½ 10² ① ３.５", ["½", "3½", "10²", "①", "３.５"]),
        ("&#51;x &frac12;", ["&#51;", "&frac12;"]),
        ("1e10000 1000000", ["1e", "10000", "1000000"]),
        ("text\n5. times\n1) fine\n3) not", ["5", "3"]),
        ("```\nsee 3\n1. is no list here\n```", ["3", "1"]),
        ("$ sleep 3", ["3"]),
        ("<!-- 3 --> <b>4</b>", ["3", "4"]),
        ("It is 3.5.", ["3.5"]),
        ("#12 issue-7", ["12", "7"]),
    ],
)  # fmt: skip
def test_what_a_number_is(text: str, tokens: list[str]) -> None:
    assert [token.text for token in numbers(text)] == tokens


CITED = record(
    {
        "ratio": 0.90574,
        "bound": 1.0124,
        "half": 2.5,
        "big": 131072,
        "negative": -3,
        "tiny": 1.25e-7,
        "share": 0.857,
        "none": None,
        "yes": True,
        "inf": math.inf,
        "text": "dx is wrong at (3, 1000)",
        "version": "2.13.0+cpu",
        "digit": "5",
        "list": [1, 2, 4],
        "items": [{"s": "a b", "n": 1}, {"s": "c", "n": 2.5}, {"s": "c", "n": None}],
        "a/b~c": {"d": 9},
    }
)


def cite(text: str) -> str:
    """The text with every `{...}` made a citation of the record, `{len:list}` with a function."""

    def citation(inner: str) -> str:
        function, colon, path = inner.rpartition(":")
        return f"<!--={function}{colon}{CITED.id[:12]}/data/{path}-->"

    pieces = text.replace("}", "{").split("{")
    return "".join(citation(p) if n % 2 else p for n, p in enumerate(pieces))


@pytest.mark.parametrize(
    "text",
    [
        "0.91{ratio} 0.9{ratio} 0.905740{ratio} 1{ratio} **0.91**{ratio} `0.91`{ratio}",
        "0.91x{ratio} 0.91{ratio}x, 0.91{ratio} x, 0.91{ratio}.",
        "<= 1.02{bound} ≤ 1.02{bound} at most 1.1{bound} >= 1.01{bound} 1.01{bound} &lt;= 2{bound}",
        "2{half} 3{half} 2.50{half}",
        "131072{big} 131,072{big} 131\u202f072{big} 1.3e5{big} 1.311E+5{big}",
        "-3{negative} −3{negative} (-3{negative})",
        "1.2e-7{tiny} 1.3e-7{tiny} 0.0000001{tiny} 0.00000{tiny}",
        "86%{percent:share} 86{percent:share}% 86{percent:share} % 85.7{percent:share}\u202f%",
        "dx is wrong at (3, 1000){text}, `dx is wrong at (3, 1000)`{text}",
        "torch 2.13.0+cpu{version}, 5{digit}",
        "3{len:list} 7{sum:list} 4{max:list} 1{min:list}",
        "1{len:items/[s=a b]} 2{len:items/[s!=a b]} 0{len:items/[s=d]}",
        "3.5{sum:items/*/n} 2.5{max:items/*/n} 2{len:items/*/n} 2.5{sum:items/[s=c]/n}",
        "2{items/1/n}–4{list/2}",
        "9{a~1b~0c/d}",
    ],
)  # fmt: skip
def test_what_the_record_says(text: str) -> None:
    checked = check_text(cite(text), Known(CITED))
    assert checked.findings == ()
    assert checked.numbers >= 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.92{ratio}", "the record says 0.90574"),
        ("0.90{ratio}", "the record says 0.90574"),
        ("1.0{ratio}", "the record says 0.90574"),
        ("-0.91{ratio}", "the record says 0.90574"),
        ("<= 1.01{bound}", "and <= must be true"),
        (">= 1.02{bound}", "and >= must be true"),
        ("1.02{bound}", "the record says 1.0124"),
        ("4{half}", "the record says 2.5"),
        ("130,000{big}", "the record says 131072"),
        ("131{big}K", "the record says 131072"),
        ("3{negative}", "the record says -3"),
        ("86{percent:share}", "it is cited as a share"),
        ("86%{share}", "the record says 0.857"),
        ("0{none}", "the record says None"),
        ("1{yes}", "the record says True"),
        ("99{inf}", "the record says 'Infinity'"),
        ("1{list}", "the record says [1, 2, 4]"),
        ("dx is wrong at (3, 1001){text}", "the record says 'dx is wrong at (3, 1000)'"),
        ("2.13.1+cpu{version}", "the record says '2.13.0+cpu'"),
        ("3.5{digit}", "the record says '5'"),
        ("9{ratio} 0.91{ratio}", "the record says 0.90574"),
        ("0.91 {ratio}", "no record says this number"),
        ("0.91 {ratio}", "this citation is behind no number"),
        ("0.91{ratio}{ratio}", "this citation is behind no number"),
        ("2.13.0+cpu{ratio}", "which no date, version or fraction can be"),
        ("½{half}", "which no date, version or fraction can be"),
        ("0.91{speed}", "the record has no 'speed' there"),
        ("0.91{list/3}", "the record has no '3' there"),
        ("0.91{list/-1}", "the record has no '-1' there"),
        ("0.91{ratio/x}", "the record has no 'x' there"),
        ("1{items/*/n}", "it is about 3 values"),
        ("1{sum:items/*/s}", "'a b' is no number"),
        ("1{max:items/[s=d]/n}", "it is about no value"),
        ("1{mean:list}", "there is no mean: in a citation"),
        ("0.91<!--=0123456789ab/data/ratio-->", "there is no record 0123456789ab"),
        ("0.91<!--=0123/data/ratio-->", "a citation reads"),
        ("0.91<!--=nonsense-->", "a citation reads"),
        ("0.91<!--=", "no record says this number"),
        # Two right numbers that a reader sees as one wrong one.
        ("1{list/0}2{list/1}", "it continues the number before it"),
        ("1{list/0},131072{big}", "it continues the number before it"),
        ("1{list/0}**2**{list/1}", "it continues the number before it"),
        ("1{list/0}<b>2{list/1}</b>", "it continues the number before it"),
        ("1{list/0}e5", "no record says this number"),
        ("2{list/1}abc5", "no record says this number"),
        ("x10.9{ratio}", "which no date, version or fraction can be"),
        ("1{list/0}2.13.0+cpu{version}", "it continues the number before it"),
    ],
)  # fmt: skip
def test_what_the_record_does_not_say(text: str, says: str) -> None:
    findings = check_text(cite(text), Known(CITED)).findings
    assert any(says in finding.problem for finding in findings), findings


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(0, 9))
def test_a_number_rounded_is_what_the_record_says(value: float, decimals: int) -> None:
    made = record({"value": value})
    citation = Citation(made.id, ("data", "value"))
    assert check_text(f"{value:.{decimals}f}{citation}", Known(made)).passed
    assert check_text(f"{value:.{decimals}e}{citation}", Known(made)).passed
    assert check_text(f"{value!r}{citation}", Known(made)).passed


@given(st.text())
def test_no_text_is_too_strange_to_check(text: str) -> None:
    checked = check_text(text, Known())
    assert checked.passed == (checked.numbers == 0)


def test_a_text_without_numbers_passes() -> None:
    checked = check_text("All is well.\n", Known())
    assert (checked.passed, checked.numbers) == (True, 0)


def test_a_document_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        check_file(tmp_path / "nowhere.md", Known())
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UsageError, match="can't be read"):
        check_file(tmp_path / "image.png", Known())
    with pytest.raises(StorageError, match="can't be written"):
        render.write("text", tmp_path / "nowhere" / "report.md")
