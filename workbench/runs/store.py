"""The run store: SQLite below `.workbench/`, one transaction per transition.

A run's state and the record of the stage that caused it are written together or not at all, so a
process killed at any instant, or a disk that fills up, leaves the run as it was before.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from workbench.errors import RunError, StorageError
from workbench.runs import Approval, Record, Request, Run, State

VERSION = 1
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, base TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, approval TEXT, created TEXT NOT NULL, updated TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS records (
    number INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs(id), stage TEXT NOT NULL,
    superseded INTEGER NOT NULL DEFAULT 0, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_run ON records(run);
PRAGMA user_version = {VERSION};
"""


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

    def create(self, run: Run) -> bool:
        """Add a new run; False when its id is taken.

        Raises:
            StorageError: nothing was written.
        """
        with storage_errors(self.path, f"run {run.id} was not started"):
            self._prepare()
            self.folder_of(run.id).mkdir(parents=True, exist_ok=True)
            with self._transaction() as database:
                cursor = database.execute(
                    "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(run)
                )
                return cursor.rowcount == 1

    def save(self, run: Run, record: Record | None = None, supersede: str = "") -> Run:
        """One transition: the run's state, the record that led to it, the stage it takes back.

        Raises:
            StorageError: nothing of it was written; the run is as it was.
        """
        with (
            storage_errors(self.path, f"run {run.id} is as it was before this step"),
            self._transaction() as database,
        ):
            database.execute(
                "UPDATE runs SET state = ?, reason = ?, approval = ?, updated = ? WHERE id = ?",
                (run.state, run.reason, _dump(run.approval), now().isoformat(), run.id),
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
        return self.get(run.id)

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
            raise RunError(f"{prefix!r} begins the ids of several runs: {', '.join(begun)}")
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
        """Make the folder, invisible to git, and the tables."""
        self.folder.mkdir(exist_ok=True)
        ignore = self.folder / ".gitignore"
        # Not only if it is missing: a kill can leave it empty.
        if not ignore.exists() or not ignore.read_text():
            ignore.write_text("*\n")
        with self._connection() as database:
            database.execute("PRAGMA journal_mode = WAL")
            if _version(database) == 0:
                database.executescript(SCHEMA)

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
        """Commit if the block ends; closing the connection without that rolls back."""
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
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
