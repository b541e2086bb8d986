"""A small kernel library in git, and stages so cheap that a whole run takes milliseconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import AuthorError
from workbench.evidence import Evidence, Machine
from workbench.layout import op_paths
from workbench.repository import Repository, content
from workbench.runs import Request, StageResult
from workbench.runs.engine import Context, Engine

APPROVER = "Ada Lovelace <ada@example.org>"
FILES = ("spec.py", "kernel.py", "wrapper.py")


def git(root: Path, *arguments: str) -> str:
    """Output of a git command; fails the test when the command fails."""
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def without_gpu() -> dict[str, str]:
    """The environment of a command of this checkout's workbench, on a machine without one."""
    here = Path(__file__).parents[1]
    path = os.pathsep.join([str(here), str(here / "kernels")])
    return os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


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


def real_library(root: Path) -> Path:
    """This checkout's kernel library in a repository of its own."""
    make_library(root)
    here = Path(__file__).parents[1]
    package = Path("kernels") / "workbench_kernels"
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(here / package, root / package, dirs_exist_ok=True, ignore=no_caches)
    (root / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Take the library")
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


MACHINE = Machine(
    os="Linux 6.8.0-1021 x86_64",
    cpu="A CPU @ 2.20GHz",
    cores=2,
    gpus=(),
    driver="",
    sandbox="bubblewrap 0.8.0, no network",
)


def seen(context: Context, kind: str, summary: list[str], data: dict[str, Any]) -> Evidence:
    """A record that is the same in every run of the same files, whenever it is made."""
    return Evidence(
        kind=kind,  # type: ignore[arg-type]
        op=context.run.op,
        files=content(context.root, context.run.op).digests,
        library={"kernels/workbench_kernels/op.py": "0" * 64},
        seed=1234567 if kind == "verification" else None,
        recipe={"inputs": "drawn from the seed"},
        machine=MACHINE,
        versions={"python": "3.11.7", "torch": "2.13.0+cpu"},
        created=datetime(2026, 8, 1, 12, 30, tzinfo=UTC),
        workbench={"version": "0.1.0"},
        summary=tuple(summary),
        data=data,
    )


def check(name: str, **found: Any) -> dict[str, Any]:
    """A check of a verdict, passed unless said otherwise."""
    plain = {"status": "passed", "cases": 2, "message": "", "seconds": 0.5}
    return {"name": name, "forward_error": None, "backward_error": None, **plain, **found}


CHECKS = [
    check("forward", forward_error=0.9057, cases=3),
    check("backward", backward_error=1.0124, cases=1),
    check("own tests", cases=9),
    check("clock", status="skipped", cases=0, message="there is no GPU"),
]


def verdict(*checks: dict[str, Any], passed: bool = True) -> dict[str, Any]:
    """What the judge would leave of these checks."""
    return {
        "passed": passed,
        "device": "cpu interpreter, no GPU involved",
        "interpreted": True,
        "dtypes": ["float32", "bfloat16"],
        "mutants": [
            {"name": "zero", "description": "y is 0", "fate": "killed", "by": "test_forward"},
            {"name": "tail", "description": "no mask", "fate": "survived", "by": "forward"},
        ],
        "checks": list(checks),
    }


def verify(context: Context) -> StageResult:
    summary = ["4 cases", "0 failed"]
    evidence = [seen(context, "verification", summary, verdict(*CHECKS))]
    return StageResult(summary=summary, evidence=evidence)


def bench(context: Context) -> StageResult:
    kernel = {"kernel": "_relu2_fwd", "target": "sm_90", "cols": 4096, "registers": 32}
    kernel |= {"spill_bytes": 0, "shared_bytes": 0, "num_warps": 4, "occupancy": 0.875}
    kernel |= {"loads": 2, "wide_loads": 2, "stores": 1, "wide_stores": None}
    data = {"kernels": [kernel], "failures": []}
    return StageResult(
        summary=["no GPU"],
        unknown=["how fast it is: no time was measured"],
        evidence=[seen(context, "compilation", ["no GPU"], data)],
    )


CHEAP: dict[str, Callable[[Context], StageResult]] = {
    "analyze": analyze,
    "generate": generate,
    "verify": verify,
    "bench": bench,
}


def fails(context: Context) -> StageResult:
    """A check that says no."""
    message = "dx is wrong at (3, 1000) in bfloat16"
    found = verdict(check("backward", status="failed", message=message), passed=False)
    return StageResult(
        ok=False,
        summary=["1 failed"],
        problem=message,
        evidence=[seen(context, "verification", ["1 failed"], found)],
    )


def gives_up(context: Context) -> StageResult:
    """An author that can't."""
    raise AuthorError("the draft author has no rule for aten.sort", "another author can: --author")


def has_much_to_say(context: Context) -> StageResult:
    """A check with more facts than fit in a line."""
    long = "and so on: one fact that is longer than what is left of the line, and even of the next"
    summary = ["96 cases", "fp32 bf16 fp16", "forward and backward", long]
    return verify(context).model_copy(update={"summary": summary})


def is_buggy(context: Context) -> StageResult:
    """A bug of ours."""
    raise ZeroDivisionError("division by zero")


class Recorder:
    """A progress listener that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def started(self, stage: str) -> None:
        self.events.append(f"{stage}...")

    def doing(self, what: str) -> None:
        self.events.append(what)

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
