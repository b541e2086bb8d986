"""Judging an op: who is asked what, and what becomes of it.

Three processes take part. The judge is this one: it draws the seeds, compares, and holds the
verdict. The referee runs the op's spec; the worker host runs the candidate and its tests. The last
two are in sandboxes, see a copy of just the files they need, and answer over a socket.
"""

from __future__ import annotations

import platform
import secrets
import tempfile
import time
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from workbench.judge import sandbox
from workbench.judge.scan import scan
from workbench.judge.stage import LIBRARY, digests, library_digests, op_files, prepare
from workbench.judge.verdict import Check, Verdict
from workbench.text import printable

TIMEOUT_SECONDS = 600.0
# What may lie in an op's folder beside its files.
_BESIDE = {"evidence.json", "__pycache__"}


def verify(
    library_root: Path,
    op: str,
    *,
    seed: int | None = None,
    timeout: float = TIMEOUT_SECONDS,
    only: Collection[str] | None = None,
) -> Verdict:
    """The verdict on the op in `library_root`/kernels.

    `seed` fixes the values drawn; without one they are new ones. Whatever the op does to its
    process (hangs, exits, kills it) becomes a failed check of the verdict. With `only`, just the
    checks of these names are made, and the verdict is partial: it can't pass.

    Raises:
        UsageError: the sandbox asked for is not to be had here.
    """
    from workbench.judge.examination import Examination, choose_device

    seed = secrets.randbits(31) if seed is None else seed
    started = time.monotonic()
    files, library = digests(library_root, op), library_digests(library_root)
    found = sandbox.find()
    device, name = choose_device()
    checks = [source(library_root, op)]
    with tempfile.TemporaryDirectory(prefix="workbench-judge-") as folder:
        stage = prepare(library_root, op, Path(folder))
        deadline = started + timeout
        with Examination(stage, found, device, seed, deadline, only) as examination:
            checks += examination.conduct()
    checks.append(_unchanged(files, digests(library_root, op)))
    return Verdict(
        op=op,
        seed=seed,
        device=name,
        interpreted=device == "cpu",
        partial=only is not None,
        versions={"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "triton")},
        dtypes=examination.dtypes,
        sandbox=str(found),
        files=files,
        library=library,
        mutants=tuple(examination.mutants),
        checks=tuple(c for c in checks if only is None or c.name in only or c.status == "failed"),
        seconds=round(time.monotonic() - started, 1),
    )


def source(root: Path, op: str, instead: Mapping[str, str] = MappingProxyType({})) -> Check:
    """The check of the files themselves: those an op has, and nothing in them that may not be.

    `instead` has the text of files, by name, that are not judged as they are there.
    """
    started = time.perf_counter()
    folder = root / LIBRARY / op
    present = [path for path in op_files(op) if (root / path).is_file()]
    problems = [f"{path} is missing" for path in op_files(op) if path not in present]
    if folder.is_dir():
        known = {path.name for path in op_files(op)} | _BESIDE
        strays = [
            printable(path.name) for path in sorted(folder.iterdir()) if path.name not in known
        ]
        problems += [f"{name} is none of an op's files" for name in strays]
    problems += [f"{path} is a symbolic link" for path in present if (root / path).is_symlink()]
    texts = {
        p.as_posix(): instead[p.name]
        if p.name in instead
        else (root / p).read_text("utf-8", "replace")
        for p in present
    }
    problems += [str(finding) for finding in scan(texts, op)]
    return Check(
        name="source",
        status="failed" if problems else "passed",
        cases=len(present),
        message="\n".join(problems),
        seconds=round(time.perf_counter() - started, 3),
    )


def _unchanged(before: dict[str, str], after: dict[str, str]) -> Check:
    """The verdict is about the files as they were; nothing may touch them meanwhile."""
    changed = sorted(path for path, _ in before.items() ^ after.items())
    return Check(
        name="files unchanged",
        status="failed" if changed else "passed",
        message=f"changed while they were judged: {', '.join(changed)}" if changed else "",
    )
