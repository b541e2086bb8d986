"""`workbench verify` as a user runs it: what a word means, what a range brings, how it is told.

The judge is a cheap one that only reads, but for the tests at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_fixtures import APPROVER, git, make_library, without_gpu

from workbench import layout
from workbench.judge.verdict import Check, Verdict
from workbench.layout import op_paths
from workbench.reference import find
from workbench.repository import Repository, content
from workbench.runs import Approval, Request, Run, State
from workbench.runs.store import Store, now
from workbench.verification import Kind, junit, specs
from workbench.verification.result import OpResult, Verification, joined

TESTS = Path(__file__).parent
FIXTURE = TESTS / "fixtures" / "relu2"
LIBRARY = "kernels/workbench_kernels"
PATH = os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "kernels")])
CHEAP = (sys.executable, str(TESTS / "helpers_verify.py"))
REAL = (sys.executable, "-m", "workbench")
Process = subprocess.CompletedProcess[str]


def verify(
    folder: Path, *arguments: str, command: tuple[str, ...] = CHEAP, verb: str = "verify"
) -> Process:
    """`workbench verify ARGUMENTS`, or another verb, in a folder."""
    environment = without_gpu() if command is CHEAP else {**os.environ, "PYTHONPATH": PATH}
    return subprocess.run(
        [*command, verb, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def answer(folder: Path, *arguments: str) -> dict[str, Any]:
    """The one JSON object of `workbench verify ARGUMENTS --json`."""
    data: dict[str, Any] = json.loads(verify(folder, *arguments, "--json").stdout)
    return data


def judged(found: dict[str, Any]) -> dict[str, bool]:
    return {result["op"]: result["passed"] for result in found["ops"]}


def check(found: dict[str, Any], name: str) -> tuple[str, str]:
    """Status and message of a check of the first op."""
    checks = {c["name"]: c for c in found["ops"][0]["verdict"]["checks"]}
    return checks[name]["status"], checks[name]["message"]


def write_op(root: Path, name: str, more: str = "") -> None:
    """relu2 under another name below a library's root, `more` at the end of its kernel."""
    folder, test = (root / path for path in op_paths(name))
    folder.mkdir(parents=True, exist_ok=True)
    test.parent.mkdir(parents=True, exist_ok=True)
    for path in FIXTURE.glob("*.py"):
        camel = "".join(part.capitalize() for part in name.split("_"))
        text = path.read_text().replace("relu2", name).replace("Relu2", camel)
        target = test if path.stem == "tests_of_relu2" else folder / path.name
        target.write_text(text + (more if path.stem == "kernel" else ""))


def commit(root: Path) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "More")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """On main a library with the op `squared`; checked out is the branch `feature`, still equal."""
    root = make_library(tmp_path / "library")
    for name in ("spec", "bound", "launch"):
        (root / LIBRARY / f"{name}.py").write_text(f'"""{name}."""\n')
    write_op(root, "squared")
    commit(root)
    git(root, "switch", "--quiet", "--create", "feature")
    return root


def spec_of(root: Path, op: str) -> Path:
    return root / LIBRARY / op / "spec.py"


# What a word means


def test_an_op_of_the_library(library: Path) -> None:
    process = verify(library, "squared")
    assert process.returncode == 0, process.stderr
    (kept,) = Store(library / ".workbench").evidence()
    assert process.stdout.splitlines() == [
        "op         squared · 1 op to judge",
        f"passed     squared · 3 cases · 0 of 3 checks failed · seed 7 · evidence {kept.id[:12]}",
        "not known  large offsets: needs a GPU",
        "verify     1 of 1 ops passed",
    ]


def test_a_wrong_op_ends_with_its_code_and_a_list(library: Path) -> None:
    write_op(library, "wrong", "# WRONG\n")
    process = verify(library, "wrong", "--seed", "12")
    assert process.returncode == 5
    (kept,) = Store(library / ".workbench").evidence()
    assert process.stdout.splitlines()[1:4] == [
        f"failed     wrong · 3 cases · 1 of 3 checks failed · seed 12 · evidence {kept.id[:12]}",
        "           forward: (3, 1000) float32:\N{REPLACEMENT CHARACTER}[2J y is off",
        "           by a lot",
    ]
    assert process.stdout.splitlines()[-1] == "verify     0 of 1 ops passed"


@pytest.mark.parametrize("folder", [".", LIBRARY, f"{LIBRARY}/squared", f"{LIBRARY}/../.."])
def test_a_folder_of_the_library(library: Path, folder: str) -> None:
    found = answer(library, folder)
    assert judged(found) == {"squared": True}
    assert (found["kind"], found["base"], found["head"]) == ("folder", None, None)


def test_a_folder_with_nothing_but_an_op(tmp_path: Path) -> None:
    """Outside any repository, named by its spec, tested by the one file that can be its test."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("spec", "kernel", "wrapper"):
        text = (FIXTURE / f"{name}.py").read_text()
        (bare / f"{name}.py").write_text(text.replace("relu2", "mine").replace("Relu2", "Mine"))
    assert check(answer(tmp_path, "bare"), "source") == (
        "failed",
        "tests/kernels/test_mine.py is missing",
    )
    (bare / "tests.py").write_text("def test_it(): ...\n")
    found = answer(tmp_path, "bare")
    assert judged(found) == {"mine": True}
    status, message = check(found, "spec")
    assert status == "skipped" and "nobody here confirmed what mine is" in message
    (bare / "test_more.py").write_text("")
    process = verify(tmp_path, "bare")
    assert process.returncode == 2 and "several tests: test_more.py, tests.py" in process.stderr
    (bare / "spec.py").write_text("SPEC = 3\n")
    process = verify(tmp_path, "bare")
    assert process.returncode == 2 and "doesn't say what the op is called" in process.stderr


def test_a_reference_is_known_only_as_a_catalogue_has_it(tmp_path: Path) -> None:
    assert check(answer(tmp_path, str(FIXTURE)), "spec") == ("passed", "")
    text = (FIXTURE / "spec.py").read_text()
    catalogue = text[text.index("import torch") : text.index("SPEC")]
    catalogue = catalogue.replace("from workbench_kernels.spec import OpSpec, Traffic\n", "")
    assert specs.consists_of(text.encode(), catalogue, "relu2")
    for old, new in {
        "square()": "abs()",
        "torch.randn(rows, cols)": "torch.zeros(rows, cols)",
        "import torch\n": "import torch\nimport workbench_kernels.other\n",
        'name="relu2"': 'name=setattr(torch, "relu", abs)',
        "reference=relu2": "reference=inputs",
        "SPEC = ": "torch.manual_seed(0)\nSPEC = ",
        "    shapes=": "    dtypes=relu2,\n    shapes=",
    }.items():
        assert old in text
        assert not specs.consists_of(text.replace(old, new).encode(), catalogue, "relu2"), new
    reworded = text.replace('"""y = relu(x)²."""', '"""The square of the positive part."""')
    assert specs.consists_of(reworded.encode(), catalogue, "relu2")


def test_a_run(library: Path) -> None:
    """Its worktree while there is one, then the commit it became; its reference is the run's."""
    repository = Repository.discover(library)
    store = Store(repository.state)
    run = Run(
        id="relu2-0a1b",
        request=Request(op="relu2", origin="catalogue", reference=find("relu2").to_record()),
        base=repository.head(),
        created=now(),
        updated=now(),
    )
    assert store.create(run)
    process = verify(library, "relu2-0")
    assert process.returncode == 1 and "run relu2-0a1b has no files to verify" in process.stderr
    worktree = repository.ensure_worktree(run.id, run.base)
    write_op(worktree, "relu2")
    found = answer(library, "relu2-0")
    assert (found["kind"], found["base"], judged(found)) == ("run", run.base, {"relu2": True})
    assert [kept.id for kept in store.evidence(run=run.id)] == [found["ops"][0]["evidence"]]
    assert check(found, "spec") == ("passed", "")

    spec = spec_of(worktree, "relu2")
    original = spec.read_text()
    spec.write_text(original.replace("square()", "abs()"))
    status, message = check(answer(library, run.id), "spec")
    assert status == "failed" and f"not the reference run {run.id} began with" in message

    spec.write_text(original)
    tree = repository.write_tree(run.base, layout.op("relu2"), content(worktree, "relu2").files)
    made = repository.write_commit(tree, run.base, "Add relu2", APPROVER)
    approval = Approval(approver=APPROVER, content="", commit=made, at=now())
    store.save(run.model_copy(update={"state": State.COMMITTED, "approval": approval}))
    repository.remove_worktree(run.id)
    found = answer(library, run.id)
    assert (found["head"], judged(found)) == (made, {"relu2": True})
    assert check(found, "spec") == ("passed", "")


def test_what_could_be_several_things_is_tried_in_order(library: Path) -> None:
    write_op(library, "main")  # also a branch
    write_op(library / "squared", "mine")  # also an op
    assert answer(library, "main")["kind"] == "op"
    assert answer(library, "main", "--as", "git")["kind"] == "git"
    assert judged(answer(library, "squared")) == {"squared": True}
    assert judged(answer(library, "squared", "--as", "folder")) == {"mine": True}
    assert "it's no run" in verify(library, "main", "--as", "run").stderr


def test_an_unknown_target_says_what_was_tried_and_what_is_near(library: Path) -> None:
    process = verify(library, "featur")
    assert process.returncode == 2
    assert process.stderr.splitlines() == [
        "error      'featur' can't be verified: it's no op of the library; it's no run; "
        "it's no folder; git knows no revision 'featur'",
        "           did you mean feature?",
    ]
    assert "git knows no revision 'nope'" in verify(library, "main..nope").stderr
    assert verify(library, "").returncode == 2
    (library / "docs").mkdir()
    assert "the folder of that name holds no op" in verify(library, "docs").stderr
    assert "it's a file, not a folder" in verify(library, "README.md").stderr
    assert "has no op 'cubed' to judge" in verify(library, ".", "--op", "cubed").stderr


def test_outside_a_repository_only_a_folder_can_be_verified(tmp_path: Path) -> None:
    process = verify(tmp_path, "main..feature")
    assert process.returncode == 2
    assert "is not inside a git repository" in process.stderr
    assert "it's no folder" in process.stderr


# What a range brings


def test_a_range_with_a_good_and_a_bad_op(library: Path) -> None:
    write_op(library, "good")
    write_op(library, "bad", "# WRONG\n")
    (library / "notes.md").write_text("notes\n")
    head = commit(library)
    git(library, "switch", "--quiet", "main")
    process = verify(library, "main..feature")
    assert process.returncode == 5, process.stderr
    lines = process.stdout.splitlines()
    base = git(library, "rev-parse", "main")
    assert lines[0] == (
        f"range      main..feature · {base[:10]}..{head[:10]} · from where feature left main · "
        "2 ops to judge"
    )
    assert [line.split(" · ")[0] for line in lines if line[0] in "pf"] == [
        "failed     bad",
        "passed     good",
    ]
    assert lines[-2:] == ["not judged 1 other file", "verify     1 of 2 ops passed"]
    found = answer(library, "main..feature")
    assert (found["base"], found["head"], found["passed"]) == (base, head, False)
    assert found["other_files"] == ["notes.md"]
    assert judged(answer(library, "main..feature", "--op", "good")) == {"good": True}


def test_a_range_begins_where_its_sides_parted(library: Path) -> None:
    write_op(library, "mine")
    commit(library)
    git(library, "switch", "--quiet", "main")
    write_op(library, "squared", "# WRONG\n")  # main's own doing
    commit(library)
    for text in ("main..feature", "main...feature", "feature", "..feature"):
        assert judged(answer(library, text)) == {"mine": True}, text
    assert judged(answer(library, "feature..")) == {"squared": False}


def test_a_branch_is_compared_with_the_default_one(library: Path, tmp_path: Path) -> None:
    write_op(library, "mine")
    commit(library)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", library, clone], check=True, capture_output=True)
    git(clone, "remote", "set-head", "origin", "main")
    process = verify(clone, "HEAD")
    assert "from where HEAD left origin/HEAD · 1 op to judge" in process.stdout
    git(library, "branch", "--quiet", "--move", "main", "trunk")
    process = verify(library, "feature")
    assert process.returncode == 2 and "no default branch" in process.stderr
    assert judged(answer(library, "trunk..feature")) == {"mine": True}


def test_histories_without_a_common_commit(library: Path) -> None:
    git(library, "switch", "--quiet", "--orphan", "other")
    git(library, "commit", "--quiet", "--allow-empty", "-m", "Nothing in common")
    git(library, "switch", "--quiet", "feature")
    process = verify(library, "main..other")
    assert process.returncode == 1
    assert "no common ancestor" in process.stderr


def test_there_may_be_nothing_to_judge(library: Path) -> None:
    process = verify(library, "feature")
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1] == (
        "verify     nothing to judge: feature has no commit of its own"
    )
    (library / LIBRARY / "bound.py").write_text("CLOSE = 1e9\n")
    commit(library)
    process = verify(library, "feature")
    assert process.returncode == 0
    assert process.stdout.splitlines()[-2:] == [
        "not judged 1 other file · of these, ops are judged by kernels/workbench_kernels/bound.py:"
        " for a person to review",
        "verify     nothing to judge: feature changes no op",
    ]


@pytest.mark.parametrize(
    "path",
    [f"{LIBRARY}/bound.py", "workbench/judge/new.py", "tests/conftest.py", "pyproject.toml"],
)
def test_no_op_lands_with_what_it_is_judged_by(library: Path, path: str) -> None:
    write_op(library, "mine")
    (library / path).parent.mkdir(parents=True, exist_ok=True)
    (library / path).write_text("CLOSE = 1e9\n")
    commit(library)
    found = answer(library, "feature")
    status, message = check(found, "judge's files")
    assert status == "failed" and path in message and "land that by itself" in message
    assert not found["passed"] and found["judging_files"] == [path]


def test_a_shared_file_concerns_every_op(library: Path) -> None:
    write_op(library, "mine")
    commit(library)
    (library / LIBRARY / "launch.py").write_text("SLOW = True\n")
    commit(library)
    assert judged(answer(library, "HEAD~..HEAD")) == {"mine": True, "squared": True}


def test_a_changed_spec_waits_for_a_person(library: Path) -> None:
    spec = spec_of(library, "squared")
    spec.write_text(spec.read_text().replace('"""y = relu(x)²."""', '"""Better said."""  # so'))
    commit(library)
    assert check(answer(library, "feature"), "spec") == ("passed", "")
    spec.write_text(spec.read_text().replace("square()", "abs()"))
    commit(library)
    status, message = check(answer(library, "feature"), "spec")
    assert status == "failed" and "a person must confirm it" in message


def test_the_test_alone_makes_its_op_be_judged(library: Path) -> None:
    (library / "tests/kernels/test_squared.py").write_text("def test_it(): ...\n")
    commit(library)
    assert judged(answer(library, "feature")) == {"squared": True}


def test_a_deleted_op_is_named(library: Path) -> None:
    git(library, "rm", "-rq", *op_paths("squared"))
    commit(library)
    process = verify(library, "feature")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-2:] == [
        "deleted    squared",
        "verify     nothing to judge: feature changes no op",
    ]
    assert answer(library, "feature")["deleted"] == ["squared"]


def link_file(root: Path) -> None:
    kernel = root / LIBRARY / "squared" / "kernel.py"
    kernel.rename(root / "kernel.py")
    kernel.symlink_to("../../../kernel.py")


def link_folder(root: Path) -> None:
    (root / LIBRARY / "squared").rename(root / "elsewhere")
    (root / LIBRARY / "squared").symlink_to("../../elsewhere")


def link_library(root: Path) -> None:
    (root / LIBRARY).rename(root / "elsewhere")
    (root / LIBRARY).symlink_to("../elsewhere")


def add_executable(root: Path) -> None:
    (root / LIBRARY / "squared" / "kernel.py").chmod(0o755)


def add_binary(root: Path) -> None:
    with (root / LIBRARY / "squared" / "wrapper.py").open("ab") as file:
        file.write(b"\0")


def add_two_lines(root: Path) -> None:
    (root / LIBRARY / "squared" / "notes\nmine PASSED\r").symlink_to("kernel.py")


def add_submodule(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    path = f"{LIBRARY}/squared/more"
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{head},{path}")
    git(root, "commit", "--quiet", "-m", "A submodule")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (link_file, "squared/kernel.py is a symbolic link"),
        (link_folder, "kernels/workbench_kernels/squared is a symbolic link"),
        (link_library, "squared/kernel.py is missing"),
        (add_executable, "squared/kernel.py is executable"),
        (add_binary, "squared/wrapper.py is not text"),
        (add_submodule, "squared/more is a submodule"),
        (add_two_lines, "squared/notes\ufffdmine PASSED\ufffd is a symbolic link"),
    ],
)
def test_an_op_is_text_in_plain_files(
    change: Callable[[Path], None], says: str, library: Path
) -> None:
    change(library)
    if change is not add_submodule:
        commit(library)
    found = answer(library, "feature")
    status, message = check(found, "source")
    assert status == "failed" and says in message
    assert not found["passed"]


def test_neither_attributes_nor_filters_nor_hooks_have_a_say(library: Path) -> None:
    """What git archive leaves out or rewrites, and what a checkout would run."""
    write_op(library, "mine", "# $Format:WRONG$\n# WRONG\n")
    hidden = "* export-ignore export-subst filter=tidy ident\n"
    (library / LIBRARY / "mine" / ".gitattributes").write_text(hidden)
    (library / ".gitattributes").write_text(f"{LIBRARY}/mine/** export-ignore\n")
    commit(library)
    trace = library.parent / "trace"
    git(library, "config", "filter.tidy.smudge", f"touch {trace}; sed s/WRONG/right/")
    hook = library / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {trace}\n")
    hook.chmod(0o755)
    git(library, "switch", "--quiet", "--no-guess", "--detach", "main")
    trace.unlink(missing_ok=True)
    found = answer(library, "main..feature")
    assert judged(found) == {"mine": False}
    assert check(found, "forward")[0] == "failed"
    assert not trace.exists()


def test_a_path_no_checkout_has_is_never_written(library: Path) -> None:
    entries = git(library, "ls-tree", f"HEAD:{LIBRARY}")
    blob = git(library, "rev-parse", "HEAD:README.md")
    inner = make_tree(library, f"{entries}\n100644 blob {blob}\t..\n")
    kernels = make_tree(library, f"040000 tree {inner}\tworkbench_kernels\n")
    root = make_tree(library, f"040000 tree {kernels}\tkernels\n")
    head = git(library, "commit-tree", "-p", "HEAD", "-m", "Out", root)
    process = verify(library, head)
    assert process.returncode == 1
    assert f"holds {LIBRARY}/.., which is no path of a file" in process.stderr


def make_tree(root: Path, entries: str) -> str:
    command = ["git", "-C", str(root), "mktree"]
    done = subprocess.run(command, input=entries, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_evidence_about_other_files_is_refused(library: Path) -> None:
    write_op(library, "mine")
    commit(library)
    status, message = check(answer(library, "feature"), "evidence")
    assert status == "skipped" and "no evidence.json" in message
    (library / LIBRARY / "mine" / "evidence.json").write_text('{"op": "mine"}\n')
    commit(library)
    assert check(answer(library, "feature"), "evidence")[0] == "failed"


def test_a_verdict_on_a_range_is_evidence(library: Path) -> None:
    write_op(library, "mine", "# WRONG\n")
    head = commit(library)
    git(library, "switch", "--quiet", "main")
    found = answer(library, "feature")
    (result,) = found["ops"]
    (kept,) = Store(library / ".workbench").evidence()
    assert (kept.id, kept.commit, kept.op, kept.passed) == (result["evidence"], head, "mine", False)
    assert kept.data["checks"] == result["verdict"]["checks"]

    report = verify(library, kept.id[:8], "--output", "report.md", verb="report")
    assert report.returncode == 0, report.stderr
    assert verify(library, "report.md", verb="verify-report").returncode == 0
    git(library, "switch", "--quiet", "feature")
    assert verify(library, "report.md", verb="verify-report").returncode == 0
    write_op(library, "mine", "# mended\n")
    checked = verify(library, "report.md", verb="verify-report")
    assert checked.returncode == 5 and "mine/kernel.py was changed" in checked.stdout
    assert verify(library, "0123abcd", verb="report").returncode == 1


def test_outside_a_repository_nothing_is_kept(tmp_path: Path) -> None:
    write_op(tmp_path / "library", "mine")
    assert answer(tmp_path, "library")["ops"][0]["evidence"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["library"]


def test_verifying_changes_nothing_but_the_store(library: Path) -> None:
    write_op(library, "mine")
    commit(library)
    (library / "README.md").write_text("edited meanwhile\n")
    before = git(library, "status", "--porcelain"), git(library, "show-ref")
    assert verify(library, "feature").returncode == 0
    assert (git(library, "status", "--porcelain"), git(library, "show-ref")) == before
    kept = {path.name.partition("-")[0] for path in (library / ".workbench").iterdir()}
    assert kept == {".gitignore", "runs.db"}


# How it is told


def test_junit(library: Path) -> None:
    write_op(library, "wrong", "# WRONG\n")
    process = verify(library, ".", "--junit", "reports/found.xml")
    assert process.returncode == 5
    root = ElementTree.parse(library / "reports" / "found.xml").getroot()
    squared, wrong = root.findall("testsuite")
    counted = {name: wrong.get(name) for name in ("name", "tests", "failures", "skipped")}
    assert counted == {"name": "wrong", "tests": "3", "failures": "1", "skipped": "1"}
    properties = {p.get("name"): p.get("value") for p in wrong.iter("property")}
    assert properties["seed"] == "7" and properties["torch"] == "2.11"
    cases = {case.get("name"): case for case in wrong.iter("testcase")}
    failure = cases["forward"].find("failure")
    assert failure is not None and failure.get("message", "").endswith("y is off")
    assert cases["forward"].get("time") == "0.25"
    assert cases["large offsets"].find("skipped") is not None
    assert squared.get("failures") == "0"


def test_junit_that_cannot_be_written_is_said_before_the_work(library: Path) -> None:
    process = verify(library, "squared", "--junit", "README.md/found.xml")
    assert process.returncode == 1 and process.stdout == ""
    assert "README.md" in process.stderr


@given(st.text(), st.sampled_from(["passed", "failed", "skipped"]))
def test_junit_is_xml_whatever_a_candidate_says(text: str, status: Any) -> None:
    verdict = Verdict(op="mine", seed=1, checks=(Check(name="a", status=status, message=text),))
    found = Verification(target=text, kind=Kind.OP, ops=(OpResult(op="mine", verdict=verdict),))
    (case,) = ElementTree.fromstring(junit.document(found)).iter("testcase")
    outcome = {"failed": "failure", "skipped": "skipped"}.get(status)
    assert [child.tag for child in case] == ([outcome] if outcome else [])


def test_of_two_checks_with_one_name_the_worse_stands() -> None:
    one = Check(name="spec", status="failed", cases=4, message="a\nb")
    others = [
        Check(name="spec", status="passed"),
        Check(name="spec", status="skipped", message="c"),
    ]
    verdict = joined(Verdict(op="mine", seed=1, checks=(one,)), others)
    (spec,) = verdict.checks
    assert (spec.status, spec.cases, spec.message) == ("failed", 4, "a\nb\nc")
    assert joined(Verdict(op="mine", seed=1), others).checks[0].status == "skipped"


# Through the real judge


def test_a_right_op_passes(tmp_path: Path) -> None:
    process = verify(tmp_path, str(FIXTURE), command=REAL)
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.splitlines()[-1] == "verify     1 of 1 ops passed"


def test_a_wrong_op_of_a_branch_fails(library: Path) -> None:
    for file in (TESTS.parent / LIBRARY).glob("*.py"):
        (library / LIBRARY / file.name).write_text(file.read_text())
    git(library, "switch", "--quiet", "main")
    commit(library)
    git(library, "switch", "--quiet", "--create", "wrong")
    write_op(library, "wrong")
    kernel = library / LIBRARY / "wrong" / "kernel.py"
    kernel.write_text(kernel.read_text().replace("dy * (2.0 * relu)", "dy * (-2.0 * relu)"))
    commit(library)
    process = verify(library, "wrong", "--as", "git", "--seed", "3", command=REAL)
    assert process.returncode == 5, process.stderr
    assert "           backward: " in process.stdout
    assert process.stdout.splitlines()[-1] == "verify     0 of 1 ops passed"
