"""Every error a user can meet, and the exit code it ends the command with.

WorkbenchError
├── UsageError          2   the command was called wrongly
├── BadReference        1   the reference or its inputs can't be used
│   └── UnknownOpError  1   no reference of that name
├── ModelError          1   a model can't be built, trained or patched
├── TierError           1   the traced tier is not the one asked for
├── RepositoryError     1   the git repository can't be used as asked
├── RunError            1   a run can't do what was asked (unknown, rejected, changed ...)
├── StorageError        1   the run store can't be read or written
├── EvidenceError       1   a record was changed, is missing, or is about other files
├── TemplateError       1   a template is broken or lacks a variable
├── ProfileGate         3   a person must confirm the profile first
├── AuthorError         4   an author gave up
│   ├── LimitReached    4   what it may spend is spent; the run is parked
│   └── AgentAway       4   it is somebody else's agent, and not here; the run is parked
├── VerificationFailed  5   the judge's verdict is no
└── Interrupted       130   the user stopped the command; the run can be resumed

Anything else is a bug of ours: its traceback goes to a log, and the command ends with 70.

Each says what was wrong, where, and (`hint`) what to do next. They are caught once, in `cli.py`. A
candidate that fails is a verdict, stored in its run; `VerificationFailed` only carries the exit
code.
"""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of all errors caused from outside the program."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(WorkbenchError):
    """The command was called wrongly."""

    exit_code = 2


class BadReference(WorkbenchError):
    """The reference can't be imported, run, traced or differentiated."""


class UnknownOpError(BadReference):
    """No catalogue knows the name, and no reference was given."""


class ModelError(WorkbenchError):
    """A model can't be built, trained or patched."""


class TierError(WorkbenchError):
    """The tier asked for is not the tier the traced graphs have."""


class RepositoryError(WorkbenchError):
    """Not a git repository, not a kernel library, or a git command failed."""


class RunError(WorkbenchError):
    """The run is unknown, finished, changed, or not where the command needs it."""


class StorageError(WorkbenchError):
    """The run store can't be read or written."""


class EvidenceError(WorkbenchError):
    """A record of evidence was changed, is missing, or is about other files than it should be."""


class TemplateError(WorkbenchError):
    """A template is missing, broken, or uses a variable nobody gave."""


class ProfileGate(WorkbenchError):
    """A person must confirm the profile before the run goes on."""

    exit_code = 3


class AuthorError(WorkbenchError):
    """An author can't write the op, or can't be asked."""

    exit_code = 4


class LimitReached(AuthorError):
    """What an author may spend is spent: the run is parked, and goes on with more."""


class AgentAway(AuthorError):
    """The author is somebody else's agent, and not connected: the run waits for it, parked."""


class VerificationFailed(WorkbenchError):
    """The judge found the candidate wrong."""

    exit_code = 5


class Interrupted(WorkbenchError):
    """The user stopped the command (Ctrl-C); the run can be resumed."""

    exit_code = 130
