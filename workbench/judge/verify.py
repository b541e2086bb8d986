"""Judging an op from outside: start the judge and the op's tests, believe what they leave."""

from __future__ import annotations

import hashlib
import secrets
import signal
import tempfile
import time
from pathlib import Path

from pydantic import ValidationError

from workbench.judge import owntests
from workbench.judge.process import Child
from workbench.judge.verdict import Check, Verdict

TIMEOUT_SECONDS = 600.0


def verify(
    library_root: Path, op: str, *, seed: int | None = None, timeout: float = TIMEOUT_SECONDS
) -> Verdict:
    """The verdict on the op in `library_root`/kernels, made in a fresh process.

    `seed` fixes the values drawn; without one they are new ones. Whatever the op does to the
    processes (hangs, exits, kills them) becomes a failed check of the verdict.
    """
    seed = secrets.randbits(31) if seed is None else seed
    started = time.monotonic()
    files = digests(library_root, op)
    with tempfile.TemporaryDirectory(prefix="workbench-judge-") as folder:
        verdict, own = _run(library_root, op, seed, started + timeout, Path(folder))
    checks = [*verdict.checks, own, _unchanged(files, digests(library_root, op))]
    seconds = round(time.monotonic() - started, 1)
    return verdict.model_copy(update={"files": files, "checks": tuple(checks), "seconds": seconds})


def op_files(op: str) -> list[Path]:
    """The files an op consists of, relative to the repository's root."""
    folder = Path("kernels/workbench_kernels") / op
    names = ("spec.py", "kernel.py", "wrapper.py")
    return [*(folder / name for name in names), Path(f"tests/kernels/test_{op}.py")]


def digests(library_root: Path, op: str) -> dict[str, str]:
    """SHA-256 of each of the op's files that exist, by path."""
    return {
        path.as_posix(): hashlib.sha256((library_root / path).read_bytes()).hexdigest()
        for path in op_files(op)
        if (library_root / path).is_file()
    }


def _run(root: Path, op: str, seed: int, deadline: float, folder: Path) -> tuple[Verdict, Check]:
    output, result = folder / "judge" / "verdict.json", folder / "tests" / "result.xml"
    for path in (output, result):
        path.parent.mkdir()
    test_file = str(root.resolve() / op_files(op)[-1])
    judging = [str(root.resolve()), op, "--seed", str(seed), "--output", str(output)]
    judge = Child("workbench.judge", judging, root=root, log=output.with_name("log"))
    testing = [test_file, str(result)]
    tests = Child(owntests.__name__, testing, root=root, log=result.with_name("log"))
    with judge, tests:
        code, own_code = judge.wait(deadline), tests.wait(deadline)
    own = owntests.read(result, own_code, tests.last_words())
    try:
        return Verdict.model_validate_json(output.read_text()), own
    except (OSError, ValidationError):
        ended = _ended(output.with_suffix(".progress"), code, judge.last_words())
        return Verdict(op=op, seed=seed, checks=(ended,)), own


def _ended(progress: Path, code: int | None, last_words: str) -> Check:
    """The check that fails when the judge's process left no verdict."""
    during = progress.read_text() if progress.is_file() else "start"
    if code is None:
        message = f"no verdict in time; it hung in '{during}'"
    elif code < 0:
        message = f"killed by {signal.Signals(-code).name} in '{during}'"
    else:
        message = f"exited with {code} in '{during}'"
    return Check(name="finishes", status="failed", message=f"{message}: {last_words}".rstrip(": "))


def _unchanged(before: dict[str, str], after: dict[str, str]) -> Check:
    """The verdict is about the files as they were; nothing may touch them meanwhile."""
    changed = sorted(path for path, _ in before.items() ^ after.items())
    return Check(
        name="files unchanged",
        status="failed" if changed else "passed",
        message=f"changed while they were judged: {', '.join(changed)}" if changed else "",
    )
