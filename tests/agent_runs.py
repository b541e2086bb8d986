"""Runs whose author is an agent, for tests: right files and wrong ones, scripts, an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers_agent import CHEAP, passes
from messages_api import MessagesAPI, Step, Turn, call, text, turn
from runs_fixtures import Recorder

from workbench.agent.checks import EngineChecks
from workbench.agent.transcript import FILE
from workbench.authors.draft import DraftAuthor
from workbench.profile import analyze
from workbench.reference import find
from workbench.repository import Repository
from workbench.runs import Request, Run, stages
from workbench.runs.engine import Engine

TESTS = Path(__file__).parent
OP = "relu2"
FOLDER = f"kernels/workbench_kernels/{OP}"
Sources = dict[str, str]


@pytest.fixture(scope="module")
def drafted() -> Sources:
    """Files of the op that are right, by what an author calls them."""
    reference = find(OP)
    files = DraftAuthor().render(analyze(reference, OP), reference)
    named = {path.name: content for path, content in files.items()}
    return {"test": named.pop(f"test_{OP}.py")} | named


def writes(sources: Mapping[str, str]) -> Turn:
    names = ("kernel.py", "wrapper.py", "test")
    return turn(*(call("write", file=name, text=sources[name]) for name in names))


def wrong(sources: Sources) -> Sources:
    """The same, as an author gets it wrong at first."""
    return sources | {"kernel.py": f"# wrong\n{sources['kernel.py']}"}


def repairing(sources: Sources) -> list[Step]:
    """An author who hands in what is wrong, and mends it."""
    return [
        turn(text("I look."), call("read", path=f"{FOLDER}/spec.py")),
        writes(wrong(sources)),
        turn(call("submit")),
        turn(call("edit", file="kernel.py", old="# wrong\n", new="")),
        turn(call("submit")),
    ]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagesAPI]:
    with MessagesAPI([]) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(EngineChecks, "verify", passes)
        yield server


def request(author: str = "claude", docstring: str = "", **options: Any) -> Request:
    """What `new` asks for."""
    record = find(OP).to_record()
    record["source"] = record["source"].replace('"""', f'"""{docstring}', 1)
    return Request(op=OP, origin="catalogue", reference=record, author=author, options=options)


def engine(root: Path, **others: Any) -> Engine:
    """An engine with the real author, and a judge who costs nothing."""
    repository = Repository.discover(root)
    return Engine(repository, stages.STAGES | CHEAP | others, Recorder())


def worktree(runs: Engine, run: Run) -> Path:
    return runs.repository.worktree(run.id)


def transcript(runs: Engine, run: Run) -> list[dict[str, Any]]:
    path = runs.store.folder_of(run.id) / FILE
    return [json.loads(line) for line in path.read_text().splitlines()]
