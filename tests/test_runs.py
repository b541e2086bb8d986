"""Runs through the engine, on real git repositories with stages that cost nothing."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs_fixtures import (
    APPROVER,
    CHEAP,
    Recorder,
    engine,
    everything,
    fails,
    generate,
    git,
    gives_up,
    library,
    make_library,
    request,
    verify,
)

from workbench import authors, judge, profile, reference, workflow
from workbench.errors import (
    AuthorError,
    BadReference,
    Interrupted,
    RepositoryError,
    RunError,
    StorageError,
    TemplateError,
    UnknownOpError,
    UsageError,
    WorkbenchError,
)
from workbench.judge.verdict import Check, Verdict
from workbench.repository import Repository
from workbench.runs import Run, StageResult, State, stages
from workbench.runs.engine import Context, Engine
from workbench.runs.review import review
from workbench.runs.store import now

__all__ = ["library"]
OP_FILES = [
    "kernels/workbench_kernels/relu2/kernel.py",
    "kernels/workbench_kernels/relu2/spec.py",
    "kernels/workbench_kernels/relu2/wrapper.py",
    "tests/kernels/test_relu2.py",
]
COMMITTED = ["kernels/workbench_kernels/relu2/evidence.json", *OP_FILES]


def worktree(root: Path, run: Run) -> Path:
    return root / ".workbench" / "worktrees" / run.id


def kernel(root: Path, run: Run) -> Path:
    return worktree(root, run) / OP_FILES[0]


def branches(root: Path) -> list[str]:
    return git(root, "branch", "--format=%(refname:short)").splitlines()


def test_a_run_ends_in_one_commit_of_exactly_its_files(library: Path) -> None:
    before = everything(library)
    runs = engine(library)
    run = runs.start(request())
    assert run.state is State.REVIEW
    assert everything(library) == before

    run = runs.approve(run.id, APPROVER)
    assert run.state is State.COMMITTED
    assert everything(library) == before
    branch = f"workbench/{run.id}"
    assert git(library, "diff", "--name-only", "main", branch).splitlines() == COMMITTED
    assert git(library, "rev-list", "--count", f"main..{branch}") == "1"
    assert (
        git(library, "log", "-1", "--format=%an <%ae> %cn <%ce>", branch)
        == f"{APPROVER} {APPROVER}"
    )
    trailers = git(library, "log", "-1", "--format=%(trailers:only)", branch)
    assert trailers == f"Workbench-Run: {run.id}\nApproved-by: {APPROVER}"
    assert (
        git(library, "log", "-1", "--format=%s", branch)
        == "Add relu2: tier-1 kernel, drafted offline"
    )
    assert not worktree(library, run).exists()
    assert "worktrees" not in git(library, "worktree", "list")


def test_a_dirty_checkout_stays_dirty(library: Path) -> None:
    (library / "README.md").write_text("edited\n")
    (library / "new.txt").write_text("untracked\n")
    (library / "staged.txt").write_text("staged\n")
    git(library, "add", "staged.txt")
    git(library, "checkout", "--quiet", "-b", "feature")
    before = everything(library)
    runs = engine(library)
    run = runs.approve(runs.start(request()).id, APPROVER)
    assert everything(library) == before
    assert (
        git(library, "diff", "--name-only", "feature", f"workbench/{run.id}").splitlines()
        == COMMITTED
    )


def test_progress_is_told_stage_by_stage(library: Path) -> None:
    progress = Recorder()
    Engine(Repository.discover(library), CHEAP, progress).start(request())
    told = [event for event in progress.events if event.endswith("ok")]
    assert told == ["analyze ok", "generate ok", "verify ok", "bench ok"]


def test_a_failing_check_fails_the_run(library: Path) -> None:
    runs = engine(library, verify=fails)
    run = runs.start(request())
    assert run.state is State.FAILED
    assert run.reason == "verify: dx is wrong at (3, 1000) in bfloat16"
    with pytest.raises(RunError, match="has not reached the review: verify: dx is wrong"):
        runs.approve(run.id, APPROVER)


def test_a_failed_run_goes_on_where_a_person_mended_it(library: Path) -> None:
    run = engine(library, verify=fails).start(request())
    kernel(library, run).write_text("mended by hand\n")
    run = engine(library).resume(run.id)
    assert run.state is State.REVIEW
    run = engine(library).approve(run.id, APPROVER)
    assert git(library, "show", f"workbench/{run.id}:{OP_FILES[0]}") == "mended by hand"


def test_an_author_that_gives_up_ends_the_command_and_keeps_the_run(library: Path) -> None:
    runs = engine(library, generate=gives_up)
    with pytest.raises(AuthorError, match=r"aten\.sort"):
        runs.start(request())
    (run,) = runs.store.all()
    assert run.state is State.FAILED
    assert "aten.sort" in run.reason


def test_an_author_that_can_repair_gets_its_attempts(library: Path) -> None:
    attempts: list[int] = []

    def repairing(context: Context) -> StageResult:
        attempts.append(sum(record.stage == "verify" for record in context.run.records))
        return generate(context).model_copy(update={"data": {"repairs": True}})

    def until_third(context: Context) -> StageResult:
        return verify(context) if len(attempts) == 3 else fails(context)

    run = engine(library, generate=repairing, verify=until_third).start(request())
    assert run.state is State.REVIEW
    assert attempts == [0, 1, 2]

    attempts.clear()
    run = engine(library, generate=repairing, verify=fails).start(request())
    assert run.state is State.FAILED
    assert attempts == [0, 1, 2, 3]


def test_nothing_but_the_ops_files_may_change(library: Path) -> None:
    def meddles(context: Context) -> StageResult:
        (context.root / "kernels" / "workbench_kernels" / "__init__.py").write_text("changed\n")
        (context.root / "helper.py").write_text("new\n")
        return generate(context)

    run = engine(library, generate=meddles).start(request())
    assert run.state is State.FAILED
    assert "kernels/workbench_kernels/__init__.py, helper.py" in run.reason
    assert engine(library).resume(run.id).state is State.REVIEW


def test_a_symbolic_link_is_not_an_op(library: Path, tmp_path: Path) -> None:
    def links(context: Context) -> StageResult:
        result = generate(context)
        (context.root / OP_FILES[0]).unlink()
        (context.root / OP_FILES[0]).symlink_to(tmp_path / "elsewhere.py")
        return result

    run = engine(library, generate=links).start(request())
    assert run.state is State.FAILED
    assert "kernel.py" in run.reason


def test_files_that_change_under_a_check_fail_it(library: Path) -> None:
    def rewrites(context: Context) -> StageResult:
        (context.root / OP_FILES[0]).write_text("what was verified was something else\n")
        return verify(context)

    run = engine(library, verify=rewrites).start(request())
    assert run.reason == "verify: the op's files changed during verify"


def test_python_caches_are_no_change(library: Path) -> None:
    def imports(context: Context) -> StageResult:
        cache = context.root / "kernels" / "workbench_kernels" / "relu2" / "__pycache__"
        cache.mkdir()
        (cache / "kernel.cpython-311.pyc").write_bytes(b"compiled")
        return verify(context)

    runs = engine(library, verify=imports)
    run = runs.approve(runs.start(request()).id, APPROVER)
    assert (
        git(library, "diff", "--name-only", "main", f"workbench/{run.id}").splitlines() == COMMITTED
    )


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_what_changed_after_the_review_needs_a_new_one(library: Path, change: str) -> None:
    runs = engine(library)
    run = runs.start(request())
    path = kernel(library, run)
    if change == "changed":
        path.write_text("one byte more\n")
    elif change == "added":
        path = path.with_name("more.py")
        path.write_text("more\n")
    else:
        path.unlink()
    with pytest.raises(RunError, match=f"{path.name} was {change}") as caught:
        runs.approve(run.id, APPROVER)
    assert f"workbench resume {run.id}" in caught.value.hint
    assert branches(library) == ["main", f"workbench/{run.id}"]

    checked: list[str] = []
    again = engine(library, verify=lambda context: checked.append("verify") or verify(context))  # type: ignore[func-returns-value]
    assert again.resume(run.id).state is State.REVIEW
    assert checked == ["verify"]
    assert again.approve(run.id, APPROVER).state is State.COMMITTED


def test_a_change_that_fails_its_check_is_not_approved(library: Path) -> None:
    run = engine(library).start(request())
    kernel(library, run).write_text("broken\n")
    runs = engine(library, verify=fails)
    assert runs.resume(run.id).state is State.FAILED
    with pytest.raises(RunError, match="has not reached the review"):
        runs.approve(run.id, APPROVER)


def test_a_worktree_removed_by_hand_is_written_again(library: Path) -> None:
    runs = engine(library)
    run = runs.start(request())
    subprocess.run(["rm", "-rf", str(worktree(library, run))], check=True)
    with pytest.raises(RunError, match=r"kernel\.py was removed"):
        runs.approve(run.id, APPROVER)
    runs.resume(run.id)
    assert runs.approve(run.id, APPROVER).state is State.COMMITTED


def test_resuming_at_the_gate_runs_nothing(library: Path) -> None:
    run = engine(library).start(request())
    nothing = dict.fromkeys(CHEAP, lambda context: pytest.fail("a stage ran again"))
    resumed = engine(library, **nothing).resume(run.id)
    assert resumed.state is State.REVIEW
    assert resumed.records == run.records


def test_a_rejected_run_leaves_its_record(library: Path) -> None:
    before = everything(library)
    runs = engine(library)
    run = runs.start(request())
    with pytest.raises(UsageError, match="needs a reason"):
        runs.reject(run.id, "  ")
    run = runs.reject(run.id, "the docstring lies")
    assert (run.state, run.reason) == (State.REJECTED, "the docstring lies")
    assert everything(library) == before
    assert branches(library) == ["main"]
    assert not worktree(library, run).exists()
    for action in (lambda: runs.approve(run.id, APPROVER), lambda: runs.resume(run.id)):
        with pytest.raises(RunError, match="was rejected: the docstring lies"):
            action()


def test_an_aborted_run_leaves_its_record(library: Path) -> None:
    runs = engine(library, verify=fails)
    run = runs.abort(runs.start(request()).id)
    assert run.state is State.ABORTED
    assert branches(library) == ["main"]
    with pytest.raises(RunError, match="was aborted"):
        runs.approve(run.id, APPROVER)


def test_a_committed_run_is_final(library: Path) -> None:
    runs = engine(library)
    run = runs.approve(runs.start(request()).id, APPROVER)
    assert run.approval is not None
    commit = run.approval.commit[:10]
    actions: list[Callable[[], Run]] = [
        lambda: runs.approve(run.id, APPROVER),
        lambda: runs.reject(run.id, "too late"),
        lambda: runs.abort(run.id),
    ]
    for action in actions:
        with pytest.raises(
            RunError, match=f"already committed: {commit} on branch workbench/{run.id}"
        ):
            action()
    assert runs.resume(run.id) == run


def test_a_branch_someone_moved_is_not_overwritten(library: Path) -> None:
    runs = engine(library)
    run = runs.start(request())
    git(worktree(library, run), "add", ".")
    git(worktree(library, run), "commit", "--quiet", "-m", "by hand")
    theirs = git(library, "rev-parse", f"workbench/{run.id}")
    with pytest.raises(RunError, match="was moved to") as caught:
        runs.approve(run.id, APPROVER)
    assert git(library, "rev-parse", f"workbench/{run.id}") == theirs
    git(library, *caught.value.hint.partition("git ")[2].split())
    assert runs.resume(run.id).state is State.COMMITTED


def test_two_runs_of_one_op_do_not_disturb_each_other(library: Path) -> None:
    inner: list[Run] = []

    def starts_another(context: Context) -> StageResult:
        inner.append(engine(library).start(request()))
        return verify(context)

    outer = engine(library, verify=starts_another).start(request())
    assert (outer.state, inner[0].state) == (State.REVIEW, State.REVIEW)
    for run in (outer, inner[0]):
        assert engine(library).approve(run.id, APPROVER).state is State.COMMITTED
    trees = {git(library, "rev-parse", f"workbench/{run.id}^{{tree}}") for run in (outer, inner[0])}
    assert len(trees) == 1


def test_a_run_is_driven_by_one_process(library: Path) -> None:
    def resumes_itself(context: Context) -> StageResult:
        with pytest.raises(RunError, match="another process"):
            engine(library).resume(context.run.id)
        return verify(context)

    assert engine(library, verify=resumes_itself).start(request()).state is State.REVIEW


def test_ctrl_c_leaves_a_run_to_resume(library: Path) -> None:
    def interrupted(context: Context) -> StageResult:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        engine(library, bench=interrupted).start(request())
    (run,) = engine(library).store.all()
    assert caught.value.hint == f"workbench resume {run.id}"
    assert caught.value.exit_code == 130
    assert run.state is State.OPEN
    assert engine(library).resume(run.id).state is State.REVIEW


def test_a_bug_in_a_stage_leaves_a_run_to_resume(library: Path) -> None:
    def buggy(context: Context) -> StageResult:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine(library, generate=buggy).start(request())
    (run,) = engine(library).store.all()
    assert engine(library).resume(run.id).state is State.REVIEW


def test_the_last_words_of_a_child_are_in_the_record(library: Path) -> None:
    def crashes(context: Context) -> StageResult:
        raise WorkbenchError("compiling relu2 failed with code -11:\nSegmentation fault")

    with pytest.raises(WorkbenchError, match="Segmentation fault"):
        engine(library, bench=crashes).start(request())
    (run,) = engine(library).store.all()
    assert run.reason == "bench: compiling relu2 failed with code -11:"
    assert run.records[-1].result.problem.endswith("Segmentation fault")


def test_a_disk_full_under_a_stage_loses_nothing(library: Path) -> None:
    def no_room(context: Context) -> StageResult:
        generate(context)
        raise OSError(errno.ENOSPC, "No space left on device", "kernel.py")

    with pytest.raises(
        StorageError, match=r"kernel\.py can't be written: No space left.*as it was"
    ):
        engine(library, generate=no_room).start(request())
    (run,) = engine(library).store.all()
    assert engine(library).resume(run.id).state is State.REVIEW


def test_leftovers_of_a_killed_git_are_no_obstacle(library: Path) -> None:
    """A worktree cut off while git was making it, an index lock, and a lock on the run's branch."""
    with pytest.raises(Interrupted):
        engine(library, generate=_interrupted).start(request())
    (run,) = engine(library).store.all()
    admin = library / ".git" / "worktrees" / run.id
    worktree(library, run).with_suffix(".made").unlink()
    (worktree(library, run) / "README.md").unlink()
    (admin / "locked").write_text("initializing\n")
    (admin / "index.lock").touch()
    (library / ".git" / "refs" / "heads" / "workbench" / f"{run.id}.lock").touch()
    runs = engine(library)
    runs.resume(run.id)
    (admin / "index.lock").touch()
    run = runs.approve(run.id, APPROVER)
    assert git(library, "rev-list", "--count", f"main..workbench/{run.id}") == "1"
    assert (library / "README.md").exists()


def _interrupted(context: Context) -> StageResult:
    raise KeyboardInterrupt


def test_hooks_and_signing_stay_out_of_it(library: Path) -> None:
    for hook in ("pre-commit", "post-checkout", "reference-transaction", "commit-msg"):
        path = library / ".git" / "hooks" / hook
        path.write_text("#!/bin/sh\necho no >&2; exit 1\n")
        path.chmod(0o755)
    git(library, "config", "commit.gpgsign", "true")
    runs = engine(library)
    assert runs.approve(runs.start(request()).id, APPROVER).state is State.COMMITTED


def test_works_in_a_linked_worktree_and_from_a_runs_own(library: Path, tmp_path: Path) -> None:
    git(library, "worktree", "add", "--quiet", str(tmp_path / "linked"), "-b", "linked")
    runs = engine(tmp_path / "linked")
    run = runs.start(request())
    inside = engine(worktree(tmp_path / "linked", run) / "kernels")
    assert inside.repository.root == tmp_path / "linked"
    assert inside.approve(run.id, APPROVER).state is State.COMMITTED
    assert f"workbench/{run.id}" in branches(library)
    assert "linked" in git(library, "worktree", "list")


def test_the_review_shows_every_line(library: Path) -> None:
    runs = engine(library)
    run = runs.start(request())
    page = review(run, runs.repository)
    assert page.results["verify"].summary == ["4 cases", "0 failed"]
    assert page.unknown == ["how fast it is: no time was measured"]
    assert [line[6:] for line in page.diff.splitlines() if line.startswith("+++ b/")] == OP_FILES
    committed = runs.approve(run.id, APPROVER)
    assert review(committed, runs.repository).diff == page.diff


def test_nothing_to_review_says_so(library: Path) -> None:
    runs = engine(library)
    run = runs.abort(runs.start(request()).id)
    with pytest.raises(RunError, match="has nothing to review"):
        review(run, runs.repository)


def test_not_a_repository(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="is not inside a git repository"):
        Repository.discover(tmp_path)


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(RepositoryError, match="has no commit yet"):
        Repository.discover(tmp_path)


def test_a_bare_repository(library: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(library), "bare")
    with pytest.raises(RepositoryError, match="is a bare git repository"):
        Repository.discover(tmp_path / "bare")


def test_a_repository_that_is_no_kernel_library(tmp_path: Path) -> None:
    root = make_library(tmp_path / "other")
    git(root, "mv", "kernels", "sources")
    git(root, "commit", "--quiet", "-m", "Rename")
    with pytest.raises(
        RepositoryError, match=r"not a kernel library: HEAD has no kernels/workbench_kernels/"
    ):
        Repository.discover(root)


def test_an_op_that_exists_is_not_new(library: Path) -> None:
    runs = engine(library)
    run = runs.approve(runs.start(request()).id, APPROVER)
    runs.repository.check_new_op("relu2")
    git(library, "merge", "--quiet", f"workbench/{run.id}")
    with pytest.raises(RepositoryError, match="kernels/workbench_kernels/relu2"):
        runs.repository.check_new_op("relu2")


def test_a_name_the_library_uses_itself_is_taken(library: Path) -> None:
    (library / "kernels" / "workbench_kernels" / "launch.py").write_text("\n")
    git(library, "add", ".")
    git(library, "commit", "--quiet", "-m", "Add launch")
    with pytest.raises(RepositoryError, match=r"kernels/workbench_kernels/launch\.py"):
        Repository.discover(library).check_new_op("launch")


@pytest.mark.parametrize(
    "name", ["Relu", "relu-2", "2relu", "", "class", "relu 2", "../relu", "_relu", "relú"]
)
def test_a_name_that_is_no_identifier(library: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a name for an op"):
        Repository.discover(library).check_new_op(name)


def test_the_approver_is_gits_user_or_who_is_named(library: Path) -> None:
    repository = Repository.discover(library)
    assert repository.person() == APPROVER
    assert repository.person("Grace <grace@example.org>") == "Grace <grace@example.org>"
    git(library, "config", "user.email", "")
    with pytest.raises(UsageError, match=r"knows no user\.name"):
        repository.person()
    assert repository.person("Grace <grace@example.org>") == "Grace <grace@example.org>"


@pytest.mark.parametrize(
    "name", ["Grace", "Grace <grace", " <g@h.i>", "G <a b>", "G <a>\nX: y <b>"]
)
def test_an_approver_that_is_no_person(library: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not name a person"):
        Repository.discover(library).person(name)


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"op": "relu3"}, UnknownOpError, "near it: relu"),
        ({"op": "relu3", "target": "nowhere.py:relu3"}, BadReference, r"nowhere\.py"),
        ({"op": "relu2", "tier": 7}, UsageError, "there is no tier 7"),
        ({"op": "relu2", "author": "shakespeare"}, UsageError, "there is no author 'shakespeare'"),
    ],
)
def test_what_no_run_begins_with(asked: dict[str, Any], error: type[Exception], says: str) -> None:
    rest: dict[str, Any] = {"target": None, "tier": None, "force_tier": False, "author": "draft"}
    with pytest.raises(error, match=says):
        stages.request(**(rest | asked))


def test_a_request_needs_no_file_of_the_users(library: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import torch\n\ndef shifted(x, by=0.5):\n    return torch.relu(x - by)\n")
    asked = stages.request("shifted", f"{file}:shifted", None, False, "draft")
    file.unlink()
    run = engine(library, analyze=stages.analyze).start(asked)
    assert run.state is State.REVIEW
    analysis = run.latest("analyze")
    assert analysis is not None
    assert analysis.result.data["parameters"] == {"by": 0.5}


def test_an_unknown_workflow_names_those_there_are() -> None:
    with pytest.raises(TemplateError, match="no workflow 'kernel-def'") as caught:
        workflow.load("kernel-def")
    assert "kernel-dev" in caught.value.hint


def test_a_workflow_reads_like_its_sentence() -> None:
    stages = [stage.name for stage in workflow.load("kernel-dev").stage]
    assert stages == ["analyze", "confirm", "generate", "verify", "bench", "review"]


def test_paths_of_one_folder_are_one_fact() -> None:
    paths = ["k/relu2/spec.py", "k/relu2/kernel.py", "tests/test_relu2.py"]
    assert stages.collapse(map(Path, paths)) == ["k/relu2/{spec,kernel}.py", "tests/test_relu2.py"]


def test_verify_holds_the_spec_against_what_was_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An author that writes another spec has its op judged by nothing anyone agreed to."""
    passed = Verdict(op="relu2", seed=1, checks=(Check(name="spec", status="passed", cases=7),))
    monkeypatch.setattr(judge, "verify", lambda root, op: passed)
    asked = stages.request("relu2", None, 1, False, "draft")
    run = Run(id="relu2-1", request=asked, base="", created=now(), updated=now())
    context = Context(run=run, root=tmp_path, folder=tmp_path)
    found = reference.find("relu2")
    authors.get("draft").write(
        authors.Assignment(
            profile=profile.analyze(found, "relu2"), reference=found, root=tmp_path, folder=tmp_path
        )
    )

    assert stages.verify(context).ok
    spec = tmp_path / "kernels/workbench_kernels/relu2/spec.py"
    spec.write_text(spec.read_text().replace("torch.relu(x)", "torch.relu(x + 0.0)"))
    result = stages.verify(context)
    assert not result.ok
    assert "its spec.py is not the reference run relu2-1 began with" in result.problem
    assert not result.evidence[0].passed
