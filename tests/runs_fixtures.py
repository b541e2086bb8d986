"""A small kernel library in git, and stages so cheap that a whole run takes milliseconds."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.errors import AuthorError
from workbench.repository import Repository, op_paths
from workbench.runs import Request, StageResult
from workbench.runs.engine import Context, Engine

APPROVER = "Ada Lovelace <ada@example.org>"
FILES = ("spec.py", "kernel.py", "wrapper.py")


def git(root: Path, *arguments: str) -> str:
    """Output of a git command; fails the test when the command fails."""
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def make_library(root: Path) -> Path:
    """A git repository with one commit that holds an empty kernel library."""
    package = root / "kernels" / "workbench_kernels"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A library."""\n')
    (root / "README.md").write_text("a library\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.name", "Ada Lovelace")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Begin the library")
    return root


def everything(root: Path) -> dict[str, str]:
    """What no run may change of a user's checkout: files, index, HEAD, all other references."""
    files = [
        p
        for p in root.rglob("*")
        if p.is_file() and not {".git", ".workbench"} & set(p.relative_to(root).parts)
    ]
    refs = [
        line for line in git(root, "show-ref").splitlines() if "refs/heads/workbench/" not in line
    ]
    return {str(p.relative_to(root)): p.read_text() for p in files} | {
        "HEAD": (root / ".git" / "HEAD").read_text(),
        "index": git(root, "ls-files", "--stage"),
        "refs": "\n".join(refs),
        "status": git(root, "status", "--porcelain", "--", ".", ":!.workbench"),
    }


def analyze(context: Context) -> StageResult:
    return StageResult(summary=["reference relu(x)²", "tier 1"], data={"tier": 1})


def generate(context: Context) -> StageResult:
    folder, test = (context.root / path for path in op_paths(context.run.op))
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(f'"""{name} of {context.run.op}."""\n')
    test.parent.mkdir(parents=True, exist_ok=True)
    test.write_text("def test_it() -> None: ...\n")
    return StageResult(summary=["draft author"])


def verify(context: Context) -> StageResult:
    return StageResult(summary=["4 cases", "0 failed"])


def bench(context: Context) -> StageResult:
    return StageResult(summary=["no GPU"], unknown=["how fast it is: no time was measured"])


CHEAP: dict[str, Callable[[Context], StageResult]] = {
    "analyze": analyze,
    "generate": generate,
    "verify": verify,
    "bench": bench,
}


def fails(context: Context) -> StageResult:
    """A check that says no."""
    return StageResult(
        ok=False, summary=["1 failed"], problem="dx is wrong at (3, 1000) in bfloat16"
    )


def gives_up(context: Context) -> StageResult:
    """An author that can't."""
    raise AuthorError("the draft author has no rule for aten.sort", "another author can: --author")


def has_much_to_say(context: Context) -> StageResult:
    """A check with more facts than fit in a line."""
    long = "and so on: one fact that is longer than what is left of the line, and even of the next"
    return StageResult(summary=["96 cases", "fp32 bf16 fp16", "forward and backward", long])


def is_buggy(context: Context) -> StageResult:
    """A bug of ours."""
    raise ZeroDivisionError("division by zero")


class Recorder:
    """A progress listener that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def started(self, stage: str) -> None:
        self.events.append(f"{stage}...")

    def finished(self, stage: str, result: StageResult) -> None:
        self.events.append(f"{stage} {'ok' if result.ok else 'failed'}")


def request(op: str = "relu2", author: str = "draft") -> Request:
    """A request for an op of the catalogue."""
    return Request(op=op, origin="catalogue: elementwise", reference={"name": op}, author=author)


def engine(root: Path, **stages: Callable[[Context], StageResult]) -> Engine:
    """An engine over the repository at `root` with cheap stages, some of them replaced."""
    return Engine(Repository.discover(root), CHEAP | stages, Recorder())


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A git repository with a kernel library."""
    return make_library(tmp_path / "library")
