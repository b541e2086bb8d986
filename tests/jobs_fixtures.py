"""Jobs that cost nothing, as functions of a module that other processes can import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.bench.progress import Progress, Step
from workbench.errors import UsageError
from workbench.jobs import Done, Executor, Job

FILES = {"folder/one.txt": b"1", "two.txt": b"2"}


def job(label: str, function: Callable[..., Any], *arguments: Any, model: str = "") -> Job:
    return Job(label, "relu2", FILES, function, arguments, model=model)


def done(executor: Executor, *jobs: Job) -> tuple[list[Done], list[str]]:
    """What becomes of the jobs, and what was told meanwhile."""
    told = list[str]()
    return list(
        executor.run(jobs, lambda job, step: told.append(f"{job.label}: {step.what}"))
    ), told


def looks(root: Path, progress: Progress) -> dict[str, str]:
    """The files it was sent, and the GPU it is on."""
    progress(Step("looking", notice=True))
    files = {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*.txt")}
    return files | {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "none")}


def waits(root: Path, marker: str, progress: Progress) -> bool:
    """Until there is a file of this name."""
    return until(Path(marker).exists, 60)


def refuses(root: Path, progress: Progress) -> None:
    raise UsageError("it is refused", "ask for another")


def is_buggy(root: Path, progress: Progress) -> None:
    raise ZeroDivisionError("division by zero")


def dies(root: Path, marker: str, often: int, progress: Progress) -> int:
    """The process is killed in the middle of it, so many times; then how often it was tried."""
    with Path(marker).open("a") as file:
        file.write("x")
    tried = Path(marker).stat().st_size
    if tried <= often:
        os.kill(os.getpid(), signal.SIGKILL)
    return tried


def hangs(root: Path, marker: str, progress: Progress) -> None:
    """Says which process it is, and never ends."""
    part = Path(f"{marker}.part")
    part.write_text(str(os.getpid()))
    part.rename(marker)
    time.sleep(600)


def interrupted(program: str, marker: Path, environment: dict[str, str]) -> tuple[int, bool]:
    """Press Ctrl-C on a program whose job hangs: its exit code, and whether the job's process is
    gone.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, start_new_session=True
    )
    try:
        until(marker.exists, 60)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(30)
        job = int(marker.read_text())
        return code, until(lambda: not lives(job), 20)
    finally:
        process.kill()


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait for it; whether it came."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
