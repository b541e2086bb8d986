"""An author's conversation for tests: a worktree, checks that say what a test wants, scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from messages_api import Turn, call, turn

from workbench.agent.budget import Budget
from workbench.agent.conversation import Conversation
from workbench.agent.files import Files
from workbench.agent.model import Model
from workbench.agent.prices import facts
from workbench.agent.tools import Toolbox
from workbench.agent.transcript import FILE, Transcript
from workbench.limits import Limits

OP = "relu2"
FOLDER = Path("kernels/workbench_kernels")
SOURCES = {
    "kernel.py": '"""The kernel."""\n\nBLOCK = 1024\n',
    "wrapper.py": '"""The wrapper."""\n',
    "test": "def test_it() -> None: ...\n",
}


class Say:
    """Checks that say what they were given, and count how often they were asked."""

    def __init__(
        self, verdicts: Sequence[str] = (), bench: Callable[[], str] | None = None
    ) -> None:
        self.verdicts, self.verified = list(verdicts), 0
        self.bench = bench

    def verify(self) -> str:
        self.verified += 1
        return self.verdicts.pop(0) if self.verdicts else "passed"

    def compile(self) -> str:
        return "31 registers"


def writes(sources: Mapping[str, str]) -> Turn:
    """A turn that writes files."""
    return turn(*(call("write", file=file, text=text) for file, text in sources.items()))


def script(sources: Mapping[str, str] = SOURCES) -> list[Turn]:
    """A good author, who looks, writes, asks and submits."""
    return [
        turn(call("list", path="."), call("search", text="library")),
        writes(sources),
        turn(call("verify")),
        turn(call("submit")),
    ]


def worktree(root: Path) -> Path:
    """A folder like a run's worktree."""
    package = root / FOLDER
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A library."""\n')
    (root / "tests" / "kernels").mkdir(parents=True)
    return root


def conversation(
    model: Model, folder: Path, checks: Say | None = None, **limits: Any
) -> tuple[Conversation, Budget, list[str]]:
    """A conversation in a fresh worktree below `folder`, beside the transcript that is there."""
    number = len(list(folder.glob("worktree*")))
    files = Files(worktree(folder / f"worktree{number}"), OP)
    budget, told = Budget(Limits(**limits), facts(model.name).price), list[str]()
    toolbox = Toolbox(files, checks or Say())
    talk = Conversation(model, toolbox, Transcript(folder / FILE), budget, told.append)
    return talk, budget, told


def written(folder: Path) -> dict[str, str]:
    """What is in the newest worktree of the author's own files."""
    newest = max(folder.glob("worktree*"), key=lambda path: int(path.name[8:]))
    files = Files(newest, OP).written
    return {name: path.read_text() for name, path in files.items() if path.exists()}
