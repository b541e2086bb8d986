"""Runs that are begun together, of which one may land: with stages that cost nothing."""

from __future__ import annotations

import fcntl
import io
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import typer
from messages_api import KEY
from rich.console import Console
from runs_fixtures import APPROVER, engine, fails, git, gives_up, library, request

from workbench import authors, cli, locks
from workbench.bench.progress import nobody
from workbench.cohort_page import Watched, rows
from workbench.commands import attempts
from workbench.console import Terminal
from workbench.errors import RunError, UsageError, WorkbenchError
from workbench.jobs import lock
from workbench.runs import Run, StageResult, State, cohorts, side_by_side, standings
from workbench.runs.context import Context
from workbench.runs.store import now

__all__ = ["library"]


def begin(root: Path, attempts: int = 3) -> list[Run]:
    return engine(root).begin(request(author="claude"), attempts)


def test_several_runs_are_begun_together_and_called_alike(library: Path) -> None:
    runs = begin(library)
    (name,) = {run.request.cohort.id for run in runs if run.request.cohort is not None}
    assert [run.id for run in runs] == [f"{name}-{n}" for n in (1, 2, 3)]
    assert [run.state for run in runs] == [State.OPEN] * 3
    alone = engine(library).begin(request())
    assert [run.request.cohort for run in alone] == [None]

    store = engine(library).store
    for asked in (name, name[:-1], f"{name}-"):
        assert [run.id for run in cohorts.find(store, asked)] == [run.id for run in runs]
    # The id of a run is that run, and what others begin with too is nobody's.
    for asked in (f"{name}-2", alone[0].id, "relu2", "", "nothing"):
        assert cohorts.find(store, asked) == []
    with pytest.raises(RunError, match="begins the ids of several runs") as caught:
        store.find(name)
    assert "workbench show ranks" in caught.value.hint


def test_all_are_begun_or_none_and_no_other_run_is_called_like_a_cohort(library: Path) -> None:
    store = engine(library).store
    asked, base, moment = request(), git(library, "rev-parse", "HEAD"), now()
    three = cohorts.new("relu2-aaaa", asked, 3, base, moment)
    assert store.create(*three)
    assert not store.create(*cohorts.new("relu2-aaaa", asked, 1, base, moment))
    assert not store.create(*cohorts.new("relu2-aaaa", asked, 4, base, moment))
    assert store.create(*cohorts.new("relu2-bbbb", asked, 1, base, moment))
    assert not store.create(*cohorts.new("relu2-bbbb", asked, 2, base, moment))
    assert len(store.all()) == 4


def test_any_one_may_be_approved_and_then_no_other(library: Path) -> None:
    runs, engines = begin(library), engine(library)
    for run in runs:
        engines.resume(run.id)
    engines.reject(runs[0].id, "not this one")
    landed = engines.approve(runs[2].id, APPROVER)
    assert landed.state is State.COMMITTED
    with pytest.raises(RunError, match=f"run {landed.id} is approved, and of the attempts"):
        engines.approve(runs[1].id, APPROVER)
    # Not the command but the store sees to it, where two can't be quicker than each other.
    loser = engines.store.get(runs[1].id)
    with pytest.raises(RunError, match="at most one is"):
        engines.store.save(loser.model_copy(update={"state": State.APPROVED}))
    assert engines.store.get(loser.id).state is State.REVIEW
    # It stays as it was, to be looked at, until somebody discards it.
    assert (engines.repository.worktree(loser.id) / "tests/kernels/test_relu2.py").is_file()
    assert engines.abort(loser.id).state is State.ABORTED
    assert cohorts.to_drive([engines.store.get(run.id) for run in runs]) == []


def test_what_goes_on(library: Path) -> None:
    runs = begin(library)
    failed = engine(library, verify=fails).resume(runs[0].id)
    waits = engine(library).resume(runs[1].id)
    found = [failed, waits, runs[2]]
    assert [run.id for run in cohorts.to_drive(found)] == [failed.id, runs[2].id]
    # An approval that was cut short is finished, and nothing else is paid for any more.
    approved = waits.model_copy(update={"state": State.APPROVED})
    assert cohorts.to_drive([failed, approved, runs[2]]) == [approved]


def test_worktrees_are_made_one_after_the_other(library: Path) -> None:
    """Git reads all when it adds one: side by side, one time in fifty, it met one half made."""
    (run, other) = begin(library, 2)
    engines = engine(library)
    engines.resume(other.id)
    with (library / ".workbench" / "worktrees.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        making = threading.Thread(
            target=engines.repository.ensure_worktree, args=(run.id, run.base)
        )
        making.start()
        making.join(0.5)
        assert making.is_alive() and not engines.repository.worktree(run.id).exists()
    making.join(30)
    assert engines.repository.worktree(run.id).is_dir()


Stages = Mapping[str, Callable[[Context], StageResult]]


def dies(run: str) -> WorkbenchError:
    return WorkbenchError(f"the process that drove run {run} ended with -9")


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ({"verify": fails}, {}, 0),
        ({"verify": fails}, {"verify": fails}, 5),
        ({"generate": gives_up}, {"generate": gives_up}, 4),
        ({}, None, 0),
        (None, None, 1),
    ],
    ids=["one failed", "both failed", "both gave up", "one died", "both died"],
)
def test_the_command_ends_as_the_first_of_them_does(
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: Stages | None,
    second: Stages | None,
    code: int,
) -> None:
    def drive(
        root: Path, runs: Sequence[str], options: object, told: Watched
    ) -> dict[str, WorkbenchError]:
        problems = {}
        for run, chosen in zip(runs, (first, second), strict=True):
            try:
                if chosen is None:
                    raise dies(run)
                engine(root, **chosen, bench=lambda _: StageResult(summary=["none"])).resume(run)
            except WorkbenchError as problem:
                problems[run] = problem
        return problems

    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setattr(side_by_side, "drive", drive)
    monkeypatch.setattr(
        "workbench.runs.stages.analysis", lambda _: StageResult(summary=[], data={"tier": 1})
    )
    runs, engines = begin(library, 2), engine(library)
    ended: int | None = 0
    try:
        attempts.resume(Terminal(), engines, runs, {})
    except typer.Exit as found:
        ended = found.exit_code
    assert ended == code


def test_a_process_that_dies_is_told_of_and_ends_no_other(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "_drive", print)  # it ends and says nothing
    console = Console(file=io.StringIO(), width=200)
    with Watched(console) as watched:
        problems = side_by_side.drive(library, ["one", "two"], {}, watched)
    assert sorted(problems) == ["one", "two"]
    assert "the process that drove run one ended with 0" in str(problems["one"])
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "stopped    two · the process that drove run two ended" in shown
    assert "workbench resume two" in shown


def test_where_no_gpu_is_they_judge_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "gpus", list)
    monkeypatch.setattr(locks, "FOLDER", tmp_path)
    with lock.own_gpu(nobody):
        assert locks.is_free("judge")  # nobody else is kept waiting
    monkeypatch.setenv(lock.TURNS, "1")
    with lock.own_gpu(nobody):
        assert not locks.is_free("judge")
    assert locks.is_free("judge")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--attempts", "0"), "greater than or equal to 1"),
        (("--attempts", "-2"), "greater than or equal to 1"),
        (("--attempts", "1000"), "less than or equal to 8"),
        (("--attempts", "2", "--author", "draft"), "writes the same files each time"),
        (("--attempts", "2", "--author", "mcp"), "is one agent of yours"),
        (("--attempts", "2", "--describe", "x"), "nobody has written or confirmed it"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...],
    says: str,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.chdir(library)
    monkeypatch.setattr(sys, "argv", ["workbench", "new", "relu2", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert engine(library).store.all() == []


def test_a_replay_is_no_author_of_several() -> None:
    with pytest.raises(UsageError, match="the same files each time"):
        authors.sampler("replay:relu2-7f3a")
    limits = authors.sampler("claude").bounds(1, {"dollars": 2})
    assert (limits.dollars, limits.turns) == (2, 40)
    assert authors.sampler("claude").bounds(1, {"model": "claude-unheard-of"}).dollars is None


def test_what_runs_are_at_is_shown_line_by_line_or_all_at_once() -> None:
    for terminal in (False, True):
        console = Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)
        with Watched(console) as watched:
            watched.started("one", "generate")
            watched.doing("one", "turn 1 of 9")
            watched.doing("one", "turn 1 of 9")
            watched.finished("two", "verify", StageResult(ok=False, summary=[], problem="dx"))
            watched.ended("one", None)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert "verify     two · failed" in shown and "two · dx" in shown
        if not terminal:
            assert shown.count("turn 1 of 9") == 1 and "one · turn 1 of 9" in shown
    with Watched(None) as silent:
        silent.finished("one", "verify", StageResult(summary=["--json"]))


def test_how_they_stand_is_a_table_of_what_counts(library: Path) -> None:
    runs = begin(library, 2)
    engine(library, verify=fails).resume(runs[0].id)
    found = standings.of(engine(library).store, engine(library).store.all())
    assert (found.first, found.going, found.landed) == (None, True, None)
    assert found.why == "so far, none reached the review"
    assert [row["rank"] for row in rows(found)] == ["-", "-"]
    assert {row["spent"] for row in rows(found)} == {"$0.00"}
