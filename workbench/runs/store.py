"""The run store: SQLite below `.workbench/`, one transaction per transition.

A run's state and the record of the stage that caused it are written together or not at all, so a
process killed at any instant, or a disk that fills up, leaves the run as it was before.
"""

from __future__ import annotations

import difflib
import errno
import fcntl
import itertools
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from workbench.errors import RunError, StorageError
from workbench.evidence import Evidence
from workbench.runs import Approval, Record, Request, Run, State

# Each step takes the tables from one version to the next. None is ever changed once it is out.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS runs (
            id TEXT PRIMARY KEY, request TEXT NOT NULL, base TEXT NOT NULL, state TEXT NOT NULL,
            reason TEXT NOT NULL, approval TEXT, created TEXT NOT NULL, updated TEXT NOT NULL
        )""",
        """CREATE TABLE IF NOT EXISTS records (
            number INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs(id), stage TEXT NOT NULL,
            superseded INTEGER NOT NULL DEFAULT 0, record TEXT NOT NULL
        )""",
        "CREATE INDEX IF NOT EXISTS records_by_run ON records(run)",
    ),
    (
        # Two runs may have seen the very same; each of them keeps it.
        """CREATE TABLE evidence (
            id TEXT NOT NULL, run TEXT NOT NULL, op TEXT NOT NULL, kind TEXT NOT NULL,
            created TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (id, run)
        )""",
        """CREATE TRIGGER evidence_is_written_once BEFORE INSERT ON evidence
        WHEN EXISTS (SELECT 1 FROM evidence WHERE id = NEW.id AND run = NEW.run)
        BEGIN SELECT RAISE(IGNORE); END""",
        """CREATE TRIGGER evidence_is_not_changed BEFORE UPDATE ON evidence
        BEGIN SELECT RAISE(ABORT, 'evidence is never changed'); END""",
        """CREATE TRIGGER evidence_is_not_deleted BEFORE DELETE ON evidence
        BEGIN SELECT RAISE(ABORT, 'evidence is never deleted'); END""",
    ),
)
VERSION = len(STEPS)
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


class Store:
    """The runs of one repository, in its folder `.workbench`. Reading creates nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "runs.db"

    def folder_of(self, run: str) -> Path:
        """The run's own folder: its lock, its log, what it keeps besides the database."""
        return self.folder / "runs" / run

    def create(self, *runs: Run) -> bool:
        """Add new runs, all or none of them; False when an id is taken, by a run or by a cohort.

        Raises:
            StorageError: nothing was written.
        """
        with storage_errors(self.path, f"run {runs[0].id} was not started"):
            self._prepare()
            for run in runs:
                self.folder_of(run.id).mkdir(parents=True, exist_ok=True)
            with self._transaction() as database:
                if any(_is_taken(database, _stem(run)) for run in runs):
                    return False
                rows = [_row(run) for run in runs]
                database.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
                return True

    def save(self, run: Run, record: Record | None = None, supersede: str = "") -> Run:
        """One transition: the run's request and state, the record that led to it with the evidence
        behind it, the stage it takes back.

        Raises:
            RunError: it is to be approved, and another run of its cohort is already.
            StorageError: nothing of it was written; the run is as it was.
        """
        with (
            storage_errors(self.path, f"run {run.id} is as it was before this step"),
            self._transaction() as database,
        ):
            if run.state is State.APPROVED:
                _refuse_second(database, run)
            database.execute(
                "UPDATE runs SET request = ?, state = ?, reason = ?, approval = ?, updated = ?"
                " WHERE id = ?",
                (
                    run.request.model_dump_json(),
                    run.state,
                    run.reason,
                    _dump(run.approval),
                    now().isoformat(),
                    run.id,
                ),
            )
            if supersede:
                database.execute(
                    "UPDATE records SET superseded = 1 WHERE run = ? AND stage = ?",
                    (run.id, supersede),
                )
            if record is not None:
                database.execute(
                    "INSERT INTO records (run, stage, record) VALUES (?, ?, ?)",
                    (run.id, record.stage, record.model_dump_json()),
                )
                _add(database, run.id, record.result.evidence)
        return self.get(run.id)

    def add_evidence(self, evidence: Iterable[Evidence], run: str = "") -> None:
        """Keep records for good, those of a run under its id.

        Raises:
            StorageError: none of them was written.
        """
        with storage_errors(self.path, "no evidence was kept"):
            self._prepare()
            with self._transaction() as database:
                _add(database, run, evidence)

    def evidence(
        self, *, run: str | None = None, op: str | None = None, begins: str = ""
    ) -> list[Evidence]:
        """The records there are of a run, of an op, whose ids begin with these digits; each once,
        oldest first.

        Raises:
            EvidenceError: one is not what it was when it was stored.
        """
        rows = self._evidence_rows(
            "SELECT id, record FROM evidence WHERE coalesce(run = ?, 1) AND coalesce(op = ?, 1)"
            " AND substr(id, 1, ?) = ? GROUP BY id ORDER BY min(rowid)",
            (run, op, len(begins), begins),
        )
        return [Evidence.read(text, id_) for id_, text in rows]

    def runs_with(self, evidence: str) -> list[str]:
        """Ids of the runs that keep the record of this id, newest first."""
        rows = self._evidence_rows(
            "SELECT run FROM evidence WHERE id = ? AND run <> '' ORDER BY rowid DESC", (evidence,)
        )
        return [run for (run,) in rows]

    def _evidence_rows(self, query: str, arguments: tuple[object, ...]) -> list[tuple[str, ...]]:
        if not self.path.exists():
            return []
        with storage_errors(self.path), self._connection() as database:
            # A store that nobody has written to since evidence came has no table for it.
            if _version(database) < 2:
                return []
            return database.execute(query, arguments).fetchall()

    def get(self, run: str) -> Run:
        """The run of exactly this id."""
        with storage_errors(self.path), self._connection() as database:
            row = database.execute("SELECT * FROM runs WHERE id = ?", (run,)).fetchone()
            return _run(database, row)

    def all(self) -> list[Run]:
        """Every run, newest first."""
        if not self.path.exists():
            return []
        with storage_errors(self.path), self._connection() as database:
            if _version(database) == 0:
                return []
            rows = database.execute("SELECT * FROM runs ORDER BY created DESC, id").fetchall()
            return [_run(database, row) for row in rows]

    def find(self, prefix: str) -> Run:
        """The run whose id is `prefix`, or the only one whose id begins with it.

        Raises:
            RunError: there is none, or more than one; the nearest ids are listed.
        """
        ids = [run.id for run in self.all()]
        begun = [known for known in ids if prefix and known.startswith(prefix)]
        if prefix in ids or len(begun) == 1:
            return self.get(prefix if prefix in ids else begun[0])
        if begun:
            raise RunError(
                f"{prefix!r} begins the ids of several runs: {', '.join(begun)}",
                "name one of them; workbench show ranks those that are attempts at one op",
            )
        near = difflib.get_close_matches(prefix, ids, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "list them: workbench runs"
        raise RunError(f"no run {prefix!r}", hint)

    @contextmanager
    def hold(self, run: str, patience: float = 2.0) -> Iterator[int]:
        """Be the only process that drives the run; yields the lock's file descriptor.

        The kernel frees the lock when the last process that has the descriptor open is gone, killed
        or not. A child that inherits it therefore keeps the run held until it has ended too.

        Raises:
            RunError: another process drives it.
        """
        path = self.folder_of(run) / "lock"
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        with file:
            deadline = time.monotonic() + patience
            while not _try_lock(file.fileno()):
                if time.monotonic() > deadline:
                    file.seek(0)
                    raise RunError(
                        f"another process (pid {file.read().strip()}) is driving run {run}",
                        "wait for it, or stop it first",
                    )
                time.sleep(0.05)
            with storage_errors(path):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            yield file.fileno()

    def _prepare(self) -> None:
        """Make the folder, invisible to git, and the database; the first transaction its tables."""
        self.folder.mkdir(exist_ok=True)
        ignore = self.folder / ".gitignore"
        # Not only if it is missing: a kill can leave it empty.
        if not ignore.exists() or not ignore.read_text():
            ignore.write_text("*\n")
        with self._connection() as database:
            database.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=15.0, isolation_level=None)
        try:
            if _version(database) > VERSION:
                raise StorageError(f"{self.path} was written by a newer workbench", "use that one")
            yield database
        finally:
            database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit if the block ends; closing the connection without that rolls back.

        Tables of an older version become this one's in the same transaction.
        """
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
            if missing := STEPS[_version(database) :]:
                for statement in itertools.chain(*missing):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {VERSION}")
            yield database
            database.execute("COMMIT")


@contextmanager
def storage_errors(path: Path, kept: str = "") -> Iterator[None]:
    """Turn a failed access to `path` into a StorageError; `kept` says what did not get lost."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _storage_error(path, str(error), kept) from error
    except sqlite3.DatabaseError as error:
        raise StorageError(
            f"{path} can't be read: {error}",
            "move it away to begin a new one; the runs' branches and worktrees stay in git",
        ) from error
    except OSError as error:
        problem = error.strerror or str(error)
        raise _storage_error(Path(error.filename or path), problem, kept) from error


@contextmanager
def room_errors(kept: str) -> Iterator[None]:
    """A stage that finds no room to write is no bug of ours."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        message = f"{error.filename or 'a file'} can't be written: {error.strerror}; {kept}"
        raise StorageError(message, "free some space, then resume the run") from error


def _storage_error(path: Path, problem: str, kept: str) -> StorageError:
    message = f"{path} can't be written or read: {problem}"
    hint = "free some space or check permissions, then try again"
    return StorageError(f"{message}; {kept}" if kept else message, hint)


def _version(database: sqlite3.Connection) -> int:
    """The schema's version; 0 until all tables are there."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _add(database: sqlite3.Connection, run: str, evidence: Iterable[Evidence]) -> None:
    """Insert records; one that is there already stays as it is."""
    database.executemany(
        "INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?)",
        [(e.id, run, e.op, e.kind, e.created.isoformat(), e.text) for e in evidence],
    )


def _stem(run: Run) -> str:
    """What no other run's id may be, or begin with before a dash."""
    return run.request.cohort.id if run.request.cohort is not None else run.id


def _is_taken(database: sqlite3.Connection, stem: str) -> bool:
    query = "SELECT 1 FROM runs WHERE id = ? OR substr(id, 1, ?) = ?"
    known = database.execute(query, (stem, len(stem) + 1, f"{stem}-"))
    return known.fetchone() is not None


def _refuse_second(database: sqlite3.Connection, run: Run) -> None:
    """Of a cohort at most one is approved; looked up in the transaction that approves, so that no
    two can be at once.
    """
    if (cohort := run.request.cohort) is None:
        return
    query = (
        "SELECT id FROM runs WHERE id <> ? AND state IN (?, ?)"
        " AND json_extract(request, '$.cohort.id') = ?"
    )
    known = (run.id, State.APPROVED, State.COMMITTED, cohort.id)
    if (other := database.execute(query, known).fetchone()) is not None:
        raise RunError(
            f"run {other[0]} is approved, and of the attempts {cohort.id} at most one is",
            f"workbench abort {run.id} discards this one; a replay of it is a run of its own",
        )


def _dump(approval: Approval | None) -> str | None:
    return approval.model_dump_json() if approval else None


def _row(run: Run) -> tuple[str | None, ...]:
    request, approval = run.request.model_dump_json(), _dump(run.approval)
    created, updated = run.created.isoformat(), run.updated.isoformat()
    return (run.id, request, run.base, run.state, run.reason, approval, created, updated)


def _run(database: sqlite3.Connection, row: tuple[str, ...]) -> Run:
    id_, request, base, state, reason, approval, created, updated = row
    records = database.execute(
        "SELECT record, superseded FROM records WHERE run = ? ORDER BY number", (id_,)
    ).fetchall()
    return Run(
        id=id_,
        request=Request.model_validate_json(request),
        base=base,
        state=State(state),
        reason=reason,
        approval=Approval.model_validate_json(approval) if approval else None,
        created=datetime.fromisoformat(created),
        updated=datetime.fromisoformat(updated),
        records=[
            Record.model_validate_json(text).model_copy(update={"superseded": bool(superseded)})
            for text, superseded in records
        ],
    )
