"""Locks by name, for all processes of a machine: one GPU is timed on by one at a time, whoever
started it.

It is a lock of the kernel's on a file of that name, so it is free once the process that has it is
gone, however it ended. Containers that do not share /tmp do not see each other's.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.runs.store import storage_errors

# Not $TMPDIR, which each user may have another of. Sticky: nobody removes another's file.
FOLDER = Path("/tmp")
_POLL_SECONDS = 0.5


@contextmanager
def hold(name: str, tell: Callable[[str], object] = lambda what: None) -> Iterator[None]:
    """Be the only process on this machine that holds `name`; `tell` hears who does meanwhile.

    Raises:
        StorageError: the lock's file can't be opened.
    """
    while (held := _try(name)) is None:
        tell(f"waiting for {name}, which process {_holder(name)} has")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        os.close(held)


def is_free(name: str) -> bool:
    """Whether nobody holds it at this moment.

    Raises:
        StorageError: the lock's file can't be opened.
    """
    held = _try(name)
    if held is None:
        return False
    os.close(held)
    return True


def _try(name: str) -> int | None:
    """The descriptor that holds the lock; None while another has it."""
    path = _path(name)
    with storage_errors(path):
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A file that was removed since it was opened is nobody else's lock.
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


def _open(path: Path) -> int:
    """The file, for everyone to lock; a link that somebody laid there is not followed."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with suppress(FileExistsError):  # another was faster
        # O_CREAT only for what is not there: the kernel may forbid it on another user's file.
        if not os.path.lexists(path):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(descriptor, 0o666)  # whatever the umask
            return descriptor
    return os.open(path, flags)


def _holder(name: str) -> str:
    """The process that says it has the lock."""
    with suppress(OSError, ValueError):
        return str(int(_path(name).read_text(errors="replace")[:20]))
    return "unknown"


def _path(name: str) -> Path:
    return FOLDER / f"workbench-{name}.lock"
