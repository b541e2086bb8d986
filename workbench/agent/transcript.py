"""The transcript of a run: a line for all that was said, written when it is said.

It is the state of the conversation too. The loop that resumes a run is the loop that began it: what
the transcript has it takes from there, and asks a model only for what comes after.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from workbench.agent.model import Message, Reply
from workbench.agent.prices import Usage
from workbench.agent.redaction import without_keys
from workbench.errors import StorageError
from workbench.runs.store import storage_errors

FILE = "transcript.jsonl"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Prefix(_Entry):
    """What every request begins with."""

    kind: Literal["prefix"] = "prefix"
    system: str
    tools: list[dict[str, Any]]


class Said(_Entry):
    """What a request adds to those before it."""

    kind: Literal["request"] = "request"
    message: Message


class Begun(_Entry):
    """A reply began: from here on it is paid for, whether it ends or breaks off."""

    kind: Literal["begun"] = "begun"
    model: str
    usage: Usage


class Replied(_Entry):
    """A reply that ended, of the model that was asked."""

    kind: Literal["reply"] = "reply"
    model: str
    reply: Reply
    seconds: float


class Result(_Entry):
    """What a tool returned for the call of that id."""

    kind: Literal["result"] = "result"
    call: str
    tool: str
    content: str
    is_error: bool
    seconds: float


Entry = Prefix | Said | Begun | Replied | Result
E = TypeVar("E", bound=_Entry)
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


class Transcript:
    """The entries of one file, those that are there first, one after the other."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a kill cut short is taken away.

        Raises:
            StorageError: it can't be read.
        """
        self.path = path
        with storage_errors(path):
            self._entries, whole = _read(path)
            if path.exists() and path.stat().st_size > whole:
                os.truncate(path, whole)
        self._taken = 0

    @property
    def entries(self) -> Sequence[Entry]:
        """What was there already."""
        return self._entries

    def take(self, kind: type[E]) -> E | None:
        """The next entry of those that were there already, if it is of that kind."""
        entry = self._entries[self._taken] if self._taken < len(self._entries) else None
        if not isinstance(entry, kind):
            return None
        self._taken += 1
        return entry

    def append(self, entry: E) -> E:
        """Write an entry so that no kill loses it.

        Raises:
            StorageError: it can't be written, or there is more that was never taken.
        """
        if self._taken < len(self._entries):
            raise StorageError(
                f"{self.path} goes on otherwise than the conversation does",
                "another version of the workbench wrote it: abort the run, and begin a new one",
            )
        line = json.dumps(without_keys(entry.model_dump(mode="json")))
        with storage_errors(self.path, "the run goes on after what was said before"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        return entry


def entries(path: Path) -> Sequence[Entry]:
    """What a transcript has, which may be written to meanwhile.

    Raises:
        StorageError: it can't be read.
    """
    with storage_errors(path):
        return _read(path)[0]


def replies(path: Path) -> list[Reply]:
    """The replies of a stored run that the next request went on from, in their order.

    Raises:
        StorageError: it can't be read.
    """
    found: list[Reply] = []
    asked = False
    for entry in entries(path):
        if isinstance(entry, Said):
            asked = True
        elif isinstance(entry, Replied):
            if not asked:  # the same was asked again
                found.pop()
            found.append(entry.reply)
            asked = False
    return found


def _read(path: Path) -> tuple[Sequence[Entry], int]:
    """The entries of a file, and the bytes of its whole lines."""
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    try:
        return [_ENTRY.validate_json(line) for line in data[:whole].splitlines()], whole
    except ValidationError as error:
        raise StorageError(
            f"{path} is no transcript: {error.errors()[0]['msg']}",
            "abort the run, and begin a new one",
        ) from error
