"""The real command over a judge that costs nothing: `python helpers_verify.py verify TARGET`.

It reads instead of running: a kernel with the word WRONG in it fails, one file missing fails too.
"""

from __future__ import annotations

from pathlib import Path

from workbench import cli, judge
from workbench.judge.stage import digests, op_files
from workbench.judge.verdict import Check, Verdict


def verify(root: Path, op: str, *, seed: int | None = None, timeout: float = 600.0) -> Verdict:
    """A verdict by reading."""
    missing = [f"{path} is missing" for path in op_files(op) if not (root / path).is_file()]
    kernel = root / op_files(op)[1]
    wrong = kernel.is_file() and "WRONG" in kernel.read_text()
    checks = (
        Check(name="source", status="failed" if missing else "passed", message="\n".join(missing)),
        Check(
            name="forward",
            status="failed" if wrong else "passed",
            cases=3,
            message="(3, 1000) float32:\x1b[2J y is off\nby a lot" if wrong else "",
            seconds=0.25,
        ),
        Check(name="large offsets", status="skipped", message="needs a GPU"),
    )
    versions = {"torch": "2.11"}
    seed, files = 7 if seed is None else seed, digests(root, op)
    return Verdict(op=op, seed=seed, versions=versions, files=files, checks=checks)


if __name__ == "__main__":
    judge.verify = verify
    cli.main()
