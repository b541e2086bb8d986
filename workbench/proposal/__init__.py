"""References that no person has confirmed yet: run in a sandbox only, never in this process.

What comes back is the reference's text as an op's spec would keep it, which is what a person is
shown and confirms, and what its graphs say of it.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import workbench
from workbench.assets import asset
from workbench.errors import BadReference
from workbench.profile import Profile
from workbench.source import Source

FILE = "reference.py"
# Of a reference's text, and of an answer.
MOST_CHARACTERS, _MOST_BYTES = 60_000, 4 << 20
_SECONDS, _GRACE_SECONDS = 120.0, 5.0


class _Record(BaseModel):
    """What `Reference.to_record` gives; it comes from a process that isn't trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    symbol: str
    tensors: list[str]
    parameters: dict[str, float]
    origin: str
    formula: str
    imports: list[str]
    source: str
    inputs_source: str


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    error: str = ""
    hint: str = ""
    record: _Record | None = None
    profile: Profile | None = None


@dataclass(frozen=True)
class Proposal:
    """A reference that can be judged by, as a run keeps it, and its profile."""

    record: dict[str, Any]
    profile: Profile

    @property
    def text(self) -> str:
        """All of it, as a module."""
        return text_of(self.record)


def text_of(record: dict[str, Any]) -> str:
    """The text of a reference's record, which is not run."""
    return Source(tuple(record["imports"]), record["source"], record["inputs_source"]).text


@cache
def examine(text: str, op: str, origin: str) -> Proposal:
    """Run a reference in a sandbox, as whoever wrote it could not be asked whether it is sound. The
    same text is the same reference, however often its author and the run ask.

    Raises:
        BadReference: no kernel could be judged by it, or it can't be traced.
        UsageError: no sandbox works here.
    """
    from workbench.judge import sandbox
    from workbench.judge.jail import Jail

    if len(text) > MOST_CHARACTERS:
        raise BadReference(f"a reference may have {MOST_CHARACTERS:,} characters")
    ours, theirs = socket.socketpair()
    package = Path(workbench.__file__).resolve().parent
    with tempfile.TemporaryDirectory(prefix="workbench-reference-") as folder, ours:
        (Path(folder) / package.name).symlink_to(package)  # the package, and nothing beside it
        jail = Jail(
            "workbench.proposal",
            [str(theirs.fileno())],
            sandbox=sandbox.find(),
            python_path=[Path(folder)],
            read=[package, asset("tiers").resolve()],
            pass_fds=[theirs.fileno()],
            deadline=time.monotonic() + _SECONDS,
        )
        with jail:
            theirs.close()
            answer = _ask(ours, {"text": text, "op": op, "origin": origin})
            jail.wait(_GRACE_SECONDS)
        return _proposal(answer, jail.ending or jail.last_words())


def _ask(end: socket.socket, question: dict[str, str]) -> bytes:
    """What comes until the other end is closed, up to what no answer reaches."""
    try:
        end.sendall(json.dumps(question).encode())
        end.shutdown(socket.SHUT_WR)
        with end.makefile("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return b""


def _proposal(answer: bytes, ending: str) -> Proposal:
    try:
        found = _Answer.model_validate_json(answer)
        if found.error:
            raise BadReference(found.error[:2000], found.hint[:500])
        if found.record is None or found.profile is None:
            raise ValueError("half an answer")
    except (ValidationError, ValueError) as error:
        raise BadReference(
            f"{FILE}: the process that ran it gave no answer: {ending or 'it ended'}",
            "a reference computes with torch, and touches nothing else",
        ) from error
    proposal = Proposal(found.record.model_dump(), found.profile)
    try:
        if len(proposal.text) > 2 * MOST_CHARACTERS:
            raise ValueError("it is too long")
    except (AssertionError, SyntaxError, ValueError) as error:
        raise BadReference(f"{FILE}: what came back of it is no reference: {error}") from error
    return proposal
