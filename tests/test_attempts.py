"""Several attempts at one op: the real command, its processes, and the loop, side by side."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from agent_runs import OP, TESTS, Sources, drafted, writes, wrong
from agent_runs import engine as agent_engine
from agent_runs import request as agent_request
from messages_api import KEY, MessagesAPI, Refused, Turn, call, text, turn
from runs_fixtures import APPROVER, engine, everything, git, make_library

from workbench import cli
from workbench.runs import Run, State, stages

__all__ = ["drafted"]
HELPER = str(TESTS / "helpers_attempts.py")


class Authors:
    """A server at which each attempt has a script of its own, found by what it was told it is."""

    def __init__(self, *scripts: Sequence[Turn | Refused]) -> None:
        self.scripts = [list(script) for script in scripts]
        self.asked: list[list[dict[str, Any]]] = [[] for _ in scripts]
        self._lock = threading.Lock()
        self.api = MessagesAPI([])
        self.api.script = [self._answer] * 200  # more than anybody asks

    def _answer(self, body: dict[str, Any]) -> Turn | Refused:
        told = "\n".join(block["text"] for block in body["messages"][0]["content"])
        which = re.search(r"You are (\d+) of \d+ authors", told)
        assert which is not None
        number = int(which[1]) - 1
        with self._lock:
            self.asked[number].append(body)
            script = self.scripts[number]
            return script.pop(0) if script else Refused(400, "invalid_request_error", "no more")

    def __enter__(self) -> Authors:
        self.api.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.api.__exit__()

    def start(self, root: Path, *arguments: str) -> subprocess.Popen[str]:
        """The command in a process, asking the server."""
        path = os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "kernels"), str(TESTS)])
        return subprocess.Popen(
            [sys.executable, HELPER, *arguments],
            cwd=root,
            env=os.environ | self.api.environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def using(registers: int, sources: Sources) -> Sources:
    """The same files with a kernel that takes so many registers."""
    return sources | {"kernel.py": f"{sources['kernel.py']}\n# {registers} registers\n"}


def submits(sources: Sources) -> list[Turn | Refused]:
    return [writes(sources), turn(text("This is by far the best one."), call("submit"))]


def store(root: Path) -> dict[int, Run]:
    """The runs there are, by the number of the attempt."""
    found = engine(root).store.all()
    return {run.request.cohort.number: run for run in found if run.request.cohort is not None}


RANKS = (["1."], ["2."], ["-"])
LAZY: list[Turn | Refused] = [turn(text("I would rather not.")) for _ in range(9)]


@dataclass(frozen=True)
class Story:
    """Three attempts: one by an author who won't, one whose first submission is wrong and which is
    killed in the middle of its repair, one that praises itself.
    """

    root: Path
    untouched: dict[str, str]
    authors: Authors
    begun: str
    killed: dict[int, State]
    resumed: str

    @property
    def name(self) -> str:
        return store(self.root)[1].id.removesuffix("-1")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, drafted: Sources) -> Iterator[Story]:
    """What became of them, up to the review."""
    root = make_library(tmp_path_factory.mktemp("story") / "library")
    untouched = everything(root)
    mends = [
        turn(call("edit", file="kernel.py", old="# wrong\n", new="")),
        turn(call("submit")),
    ]
    repairing = [*submits(wrong(using(31, drafted))), turn(text("I think"), hangs=True)]
    with Authors(LAZY, repairing, submits(using(40, drafted))) as authors:
        flags = ("--tier", "1", "--max-turns", "5", "--max-cost", "2")
        process = authors.start(root, "new", OP, "--attempts", "3", *flags)
        assert authors.api.waiting.wait(180)
        until(lambda: store(root)[1].state is State.PARKED)
        until(lambda: store(root)[3].state is State.REVIEW)
        driving = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)  # and nobody else: the others die with it
        begun, _ = process.communicate()
        until(lambda: not driving & processes())
        killed = {number: run.state for number, run in store(root).items()}
        authors.scripts[1] = mends
        resumed = authors.start(root, "resume", OP)
        output, errors = resumed.communicate(timeout=240)
        assert resumed.returncode == 0, output + errors
        assert KEY not in begun + output + errors
        yield Story(root, untouched, authors, begun, killed, output)


def test_all_that_a_kill_left_goes_on_and_no_finished_turn_is_paid_twice(story: Story) -> None:
    assert story.killed == {1: State.PARKED, 2: State.OPEN, 3: State.REVIEW}
    runs = store(story.root)
    assert [runs[n].state for n in (1, 2, 3)] == [State.PARKED, State.REVIEW, State.REVIEW]
    asked = story.authors.asked
    assert [len(requests) for requests in asked] == [5, 5, 2]
    assert asked[1][3]["messages"] == asked[1][2]["messages"]  # only the half one again
    assert everything(story.root) == story.untouched


def test_what_it_may_cost_is_said_before_and_what_it_did_cost_after(story: Story) -> None:
    said = next(line for line in story.begun.splitlines() if line.startswith("attempts"))
    assert f"{story.name} · 3 side by side · each within 5 turns, 3,000,000 tokens, $2" in said
    assert said.endswith("all within $6, 9,000,000 tokens")
    # Both halves of the reply that broke off are counted.
    assert "16,151 tokens · $0.03 spent in all" in story.resumed
    rows = [line.split() for line in story.resumed.splitlines() if line.split()[:1] in RANKS]
    assert [row[1].rpartition("-")[2] for row in rows] == ["2", "3", "1"]


def test_evidence_ranks_and_not_words(story: Story) -> None:
    name = story.name
    said = f"ranked     {name}-2 is first: fewer registers, 31 against 40 of {name}-3"
    assert f"{said} · no time ranks them" in story.resumed
    assert f"approve {name}-2" in story.resumed and f"approve {name}-3" not in story.resumed
    assert f"stopped    {name}-1 · the limit of 5 turns is reached" in story.resumed


def test_each_is_told_the_same_and_then_what_to_try(story: Story) -> None:
    told = [requests[0] for requests in story.authors.asked]
    assert len({json.dumps([body["system"], body["tools"]]) for body in told}) == 1
    blocks = [[b["text"] for b in body["messages"][0]["content"]] for body in told]
    assert len({task for task, *_ in blocks}) == 1
    assert len({aside for _, aside, *_ in blocks}) == 3
    for number, (_, aside, *_) in enumerate(blocks, 1):
        assert f"You are {number} of 3 authors" in aside
        kept = story.root / ".workbench" / "runs" / f"{story.name}-{number}" / "prompts"
        assert (kept / "attempt.md").read_text() == aside


def test_one_lands_and_the_others_stay_to_be_looked_at(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def workbench(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["workbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out + said.err

    monkeypatch.chdir(story.root)
    name = story.name
    assert workbench("approve", name)[0] == 1  # it is said which
    assert workbench("approve", f"{name}-2", "--as", APPROVER)[0] == 0
    code, said = workbench("approve", f"{name}-3", "--as", APPROVER)
    assert code == 1 and f"run {name}-2 is approved, and of the attempts {name}" in said
    assert git(story.root, "log", "-1", "--format=%s", f"workbench/{name}-3") == "Begin the library"
    code, said = workbench("runs")
    assert f"attempt 3 of 3: {name}-2 is approved instead" in said
    assert "attempt 1 of 3: generate: the limit of 5 turns" in said
    code, said = workbench("show", name, "--json")
    found = json.loads(said)
    assert (found["first"], found["landed"]) == (f"{name}-2", f"{name}-2")
    assert [run["state"] for run in found["runs"]] == ["committed", "review", "parked"]
    code, said = workbench("show", f"{name}-3")
    assert f"{name}-3 · attempt 3 of 3 · review" in said and "40 registers" in said
    assert "# 40 registers" in workbench("review", f"{name}-3")[1]
    code, said = workbench("resume", name, "--max-turns", "20")  # nobody pays for what can't land
    assert code == 1 and f"none of the attempts {name} can go on" in said


def test_a_replay_of_one_is_a_run_of_its_own(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    runs = agent_engine(story.root)
    replayed = store(story.root)[3]
    again = runs.start(agent_request(stages.author(f"replay:{replayed.id}", {}, runs.store)))
    assert (again.state, again.request.cohort) == (State.REVIEW, None)
    assert again.records[-1].content == replayed.records[-1].content
    assert runs.approve(again.id, APPROVER).state is State.COMMITTED


def until(holds: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes() -> set[int]:
    """Those that live; one that nobody waited for yet does not."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if path.read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def descendants(parent: int) -> set[int]:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return {int(child) for child in path.read_text().split()}
