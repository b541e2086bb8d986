"""The run store: a transition is whole or not there, whatever happens to process or disk."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from runs_fixtures import MACHINE, request

from workbench.errors import EvidenceError, RunError, StorageError
from workbench.evidence import Evidence
from workbench.runs import Approval, Record, Run, StageResult, State
from workbench.runs.store import STEPS, VERSION, Store, now


def new_run(id_: str = "relu2-7f3a", age: int = 0) -> Run:
    created = now() - timedelta(seconds=age)
    return Run(id=id_, request=request(), base="b" * 40, created=created, updated=created)


def new_record(stage: str = "verify", ok: bool = True, *evidence: Evidence) -> Record:
    result = StageResult(
        ok=ok,
        summary=["96 cases", "0 failed"],
        data={"worst": [1.5, None]},
        evidence=list(evidence),
    )
    return Record(
        stage=stage,
        result=result,
        evidence=[e.id for e in evidence],
        content="c" * 64,
        started=now(),
        seconds=1.25,
    )


def new_evidence(op: str = "relu2", **data: object) -> Evidence:
    return Evidence(
        kind="verification",
        op=op,
        files={"kernel.py": "f" * 64},
        library={},
        seed=7,
        recipe={},
        machine=MACHINE,
        versions={},
        created=now(),
        workbench={},
        summary=(),
        data=data,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".workbench")


def test_keeps_what_it_is_given(store: Store) -> None:
    run, record = new_run(), new_record()
    assert store.create(run)
    approval = Approval(approver="Ada <a@b.c>", content="c" * 64, commit="d" * 40, at=now())
    approved = run.model_copy(update={"state": State.APPROVED, "approval": approval})
    store.save(approved, record)
    kept = Store(store.folder).get(run.id)
    assert kept.records == [record]
    assert (kept.state, kept.approval, kept.request) == (State.APPROVED, approval, run.request)


def test_reading_creates_nothing(store: Store) -> None:
    assert store.all() == []
    with pytest.raises(RunError, match="no run 'relu2'"):
        store.find("relu2")
    assert not store.folder.exists()


@pytest.mark.parametrize("killed_while_writing", [False, True])
def test_its_folder_is_invisible_to_git(store: Store, killed_while_writing: bool) -> None:
    if killed_while_writing:
        store.folder.mkdir()
        (store.folder / ".gitignore").touch()
    store.create(new_run())
    assert (store.folder / ".gitignore").read_text() == "*\n"


def test_an_id_is_taken_once(store: Store) -> None:
    assert store.create(new_run())
    assert not store.create(new_run())
    assert len(store.all()) == 1


def test_newest_run_comes_first(store: Store) -> None:
    for id_, age in (("relu2-0001", 20), ("relu2-0003", 0), ("relu2-0002", 10)):
        store.create(new_run(id_, age))
    assert [run.id for run in store.all()] == ["relu2-0003", "relu2-0002", "relu2-0001"]


def test_a_superseded_record_no_longer_stands(store: Store) -> None:
    run = new_run()
    store.create(run)
    store.save(run, new_record("generate"))
    kept = store.save(run, new_record("verify", ok=False), supersede="generate")
    assert kept.latest("generate") is None
    assert kept.latest("verify") is not None
    assert [record.superseded for record in kept.records] == [True, False]


def test_finds_a_run_by_what_its_id_begins_with(store: Store) -> None:
    store.create(new_run("relu2-7f3a"))
    store.create(new_run("relu2-71bb"))
    store.create(new_run("relu-7f3a"))
    assert store.find("relu2-7f").id == "relu2-7f3a"
    assert store.find("relu-").id == "relu-7f3a"
    with pytest.raises(RunError, match=r"several runs: relu2-7..., relu2-7..."):
        store.find("relu2-7")


def test_an_unknown_run_names_the_nearest(store: Store) -> None:
    store.create(new_run("relu2-7f3a"))
    with pytest.raises(RunError, match="no run 'relu2-7f4b'") as caught:
        store.find("relu2-7f4b")
    assert "relu2-7f3a" in caught.value.hint


@pytest.mark.parametrize("when", ["before COMMIT", "after COMMIT"])
def test_killed_inside_a_transition(store: Store, when: str) -> None:
    """Right before or right after the COMMIT: all of the transition is there, or nothing."""
    run = new_run()
    store.create(run)
    child = os.fork()
    if child == 0:
        _die_around_commit(store, run, when)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    kept = store.get(run.id)
    happened = when == "after COMMIT"
    assert (len(kept.records) == 1) is happened
    assert (kept.state is State.REVIEW) is happened
    ids = [id_ for record in kept.records for id_ in record.evidence]
    assert [evidence.id for evidence in store.evidence()] == ids
    assert len(ids) == happened
    assert store.save(kept, new_record("bench")).latest("bench") is not None


def _die_around_commit(store: Store, run: Run, when: str) -> None:
    """Never returns. SQLite tells of a statement before it runs; the one after COMMIT is a read."""
    statements: list[str] = []

    def watch(statement: str) -> None:
        last = statements[-1] if statements else ""
        statements.append(statement)
        if (statement if when == "before COMMIT" else last) == "COMMIT":
            os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def watched(*arguments: object, **options: object) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        database.set_trace_callback(watch)
        return database

    sqlite3.connect = watched  # type: ignore[assignment]
    record = new_record("verify", True, new_evidence())
    store.save(run.model_copy(update={"state": State.REVIEW}), record)
    os._exit(1)


def test_keeps_evidence_apart_from_the_record_that_names_it(store: Store) -> None:
    run, evidence = new_run(), new_evidence(samples=[0.1, 1e-300])
    store.create(run)
    kept = store.save(run, new_record("verify", True, evidence))
    assert kept.records[0].evidence == [evidence.id]
    assert kept.records[0].result.evidence == []
    assert store.evidence(run=run.id) == [evidence]


def test_finds_evidence_by_run_op_and_id(store: Store) -> None:
    assert store.evidence() == []
    assert store.runs_with("f" * 64) == []
    one, two, three = new_evidence(n=1), new_evidence(n=2), new_evidence("silu")
    store.add_evidence([one], "relu2-0001")
    store.add_evidence([two, one], "relu2-0002")
    store.add_evidence([three])
    assert store.evidence() == [one, two, three]
    assert store.evidence(run="relu2-0002") == [two, one]
    assert store.evidence(op="silu") == [three]
    assert store.evidence(run="relu2-0001", op="silu") == []
    assert store.evidence(begins=two.id[:12]) == [two]
    assert store.runs_with(one.id) == ["relu2-0002", "relu2-0001"]
    assert store.runs_with(three.id) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE evidence SET record = '{}'",
        "UPDATE evidence SET run = 'relu2-0002'",
        "DELETE FROM evidence",
        "INSERT OR REPLACE INTO evidence SELECT id, run, 'silu', kind, created, '' FROM evidence",
    ],
)
def test_evidence_is_there_for_good(store: Store, change: str) -> None:
    evidence = new_evidence()
    store.add_evidence([evidence], "relu2-0001")
    with sqlite3.connect(store.path) as database:
        try:
            database.execute(change)
        except sqlite3.IntegrityError as error:
            assert "evidence is never" in str(error)
    store.add_evidence([evidence], "relu2-0001")
    assert store.evidence(run="relu2-0001", op="relu2") == [evidence]


def test_evidence_changed_behind_its_back_is_found(store: Store) -> None:
    store.add_evidence([new_evidence(error=0.9)])
    with sqlite3.connect(store.path) as database:
        database.execute("DROP TRIGGER evidence_is_not_changed")
        database.execute("UPDATE evidence SET record = replace(record, '0.9', '0.1')")
    with pytest.raises(EvidenceError, match="was changed"):
        store.evidence()


def old_store(store: Store) -> Run:
    """A store as the version before evidence left it, with a run; the run."""
    run = new_run()
    assert store.create(run)
    with sqlite3.connect(store.path) as database:
        database.execute("DROP TABLE evidence")
        database.execute("PRAGMA user_version = 1")
    return run


def test_an_older_store_is_read_as_it_is(store: Store) -> None:
    run = old_store(store)
    assert store.get(run.id).id == run.id
    assert store.evidence(run=run.id) == []
    assert store.runs_with("f" * 64) == []
    with sqlite3.connect(store.path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


def test_an_older_store_is_brought_up_when_written(store: Store) -> None:
    run = old_store(store)
    evidence = new_evidence()
    kept = store.save(run, new_record("verify", True, evidence))
    assert (kept.id, len(kept.records)) == (run.id, 1)
    assert store.evidence() == [evidence]
    with sqlite3.connect(store.path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_store_of_the_first_version_has_these_tables(tmp_path: Path) -> None:
    """What is out there: no step that was released may change."""
    with sqlite3.connect(tmp_path / "runs.db") as database:
        for statement in STEPS[0]:
            database.execute(statement)
        tables = [
            (name, [row[1] for row in database.execute(f"PRAGMA table_info({name})")])
            for name in ("runs", "records")
        ]
    assert tables == [
        ("runs", "id request base state reason approval created updated".split()),
        ("records", "number run stage superseded record".split()),
    ]


WRITER = """
import sys
from pathlib import Path
from test_store import Store, new_record, new_run
store, name = Store(Path(sys.argv[1])), sys.argv[2]
run = new_run(f"{name}-0000")
assert store.create(run)
for number in range(40):
    store.save(run, new_record(f"{name}{number}"))
"""


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that can import this test file and the workbench."""
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), str(root / "kernels"), str(Path(__file__).parent)])
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )


def test_processes_write_at_once(store: Store) -> None:
    """Also the first one: neither finds a folder or a table."""
    writers = [python(WRITER, store.folder, name) for name in ("a", "b", "c")]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    assert {run.id: len(run.records) for run in store.all()} == {f"{n}-0000": 40 for n in "abc"}


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from test_store import Record, StageResult, StorageError, Store, new_record, now
store = Store(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
run, written = store.get("relu2-7f3a"), 0
try:
    while True:
        record = new_record(f"stage{written}")
        big = record.result.model_copy(update={"data": {"text": "x" * 20_000}})
        store.save(run, record.model_copy(update={"result": big}))
        written += 1
except StorageError as error:
    print(json.dumps([written, str(error), error.hint]))
"""


def test_disk_full(store: Store) -> None:
    """A file size limit stands in for it: what was stored stays, the failed step left nothing."""
    store.create(new_run())
    output, errors = python(FULL_DISK, store.folder).communicate(timeout=60)
    written, message, hint = json.loads(output or "null") or pytest.fail(errors)
    assert "run relu2-7f3a is as it was before this step" in message
    assert "space" in hint
    kept = store.get("relu2-7f3a")
    assert [record.stage for record in kept.records] == [f"stage{n}" for n in range(written)]
    assert 0 < written < 10
    assert store.save(kept, new_record()).latest("verify") is not None


def test_a_damaged_database(store: Store) -> None:
    store.create(new_run())
    for leftover in store.folder.glob("runs.db-*"):
        leftover.unlink()
    store.path.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StorageError, match=r"runs\.db can't be read"):
        store.all()


def test_a_newer_database_is_left_alone(store: Store) -> None:
    store.create(new_run())
    with sqlite3.connect(store.path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="newer workbench"):
        store.all()


def test_a_database_cut_off_before_its_tables_is_empty(store: Store) -> None:
    store.folder.mkdir()
    store.path.touch()
    assert store.all() == []
    assert store.create(new_run())


def test_no_place_for_its_folder(tmp_path: Path) -> None:
    (tmp_path / ".workbench").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="run relu2-7f3a was not started"):
        Store(tmp_path / ".workbench").create(new_run())


def hold(store: Store, ready: Callable[[], None]) -> None:
    with store.hold("relu2-7f3a"):
        ready()


def test_one_process_drives_a_run(store: Store) -> None:
    store.create(new_run())
    with (
        store.hold("relu2-7f3a"),
        pytest.raises(RunError, match=f"process .pid {os.getpid()}. is driving"),
    ):
        hold(Store(store.folder), lambda: pytest.fail("held twice"))


def test_another_run_is_not_held(store: Store) -> None:
    store.create(new_run("relu2-7f3a"))
    with store.hold("relu2-0001"):
        hold(store, lambda: None)


def test_a_child_that_outlives_its_parent_keeps_the_run_held(store: Store) -> None:
    """An orphaned `git worktree add` must end before a resumed run makes the worktree again."""
    store.create(new_run())
    with store.hold("relu2-7f3a") as descriptor:
        child = subprocess.Popen(["sleep", "30"], pass_fds=[descriptor])
    with pytest.raises(RunError, match="is driving"), store.hold("relu2-7f3a", patience=0.1):
        pytest.fail("held twice")
    child.kill()
    child.wait()
    hold(store, lambda: None)
