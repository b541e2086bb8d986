"""A lock for each GPU of a machine, so that two timings never share one, whoever starts them.

It is a lock of the kernel's on a file that is named by the GPU, so it is free once the process that
has it is gone, however it ended. Containers that do not share /tmp do not see each other's.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.bench.progress import Progress, Step
from workbench.jobs.gpus import gpus
from workbench.runs.store import storage_errors

# Not $TMPDIR, which each user may have another of. Sticky: nobody removes another's file.
FOLDER = Path("/tmp")
_POLL_SECONDS = 0.5


@contextmanager
def own_gpu(progress: Progress) -> Iterator[None]:
    """Be the only one on the first GPU this process sees, which is the one it would time on; where
    it sees none there is nothing to share.

    Raises:
        StorageError: the lock's file can't be opened.
    """
    visible = gpus()
    if not visible:
        yield
        return
    with hold(visible[0].whole, progress):
        yield


@contextmanager
def hold(gpu: str, progress: Progress) -> Iterator[None]:
    """Be the only process on this machine that holds `gpu`; says who does while it waits.

    Raises:
        StorageError: the lock's file can't be opened.
    """
    while (held := _try(gpu)) is None:
        progress(Step(f"waiting for {gpu}, which process {_holder(gpu)} has", notice=True))
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        os.close(held)


def is_free(gpu: str) -> bool:
    """Whether nobody holds it at this moment.

    Raises:
        StorageError: the lock's file can't be opened.
    """
    held = _try(gpu)
    if held is None:
        return False
    os.close(held)
    return True


def _try(gpu: str) -> int | None:
    """The descriptor that holds the lock; None while another has it."""
    path = _path(gpu)
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


def _holder(gpu: str) -> str:
    """The process that says it has the lock."""
    with suppress(OSError, ValueError):
        return str(int(_path(gpu).read_text(errors="replace")[:20]))
    return "unknown"


def _path(gpu: str) -> Path:
    return FOLDER / f"workbench-{gpu}.lock"
