"""The command whose author is an agent: its limits, killed, and once with the real judge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agent_runs import (
    FOLDER,
    OP,
    TESTS,
    Sources,
    api,
    drafted,
    engine,
    repairing,
    writes,
    wrong,
)
from helpers_agent import CHEAP
from messages_api import KEY, MessagesAPI, call, text, turn
from runs_fixtures import APPROVER, everything, git, library, real_library

from workbench import cli
from workbench.agent.transcript import FILE
from workbench.runs import State, stages

__all__ = ["api", "drafted", "library"]


HELPER = (str(TESTS / "helpers_agent.py"),)


def command(
    root: Path, api: MessagesAPI, *arguments: str, script: tuple[str, ...] = HELPER
) -> subprocess.Popen[str]:
    """The command in a process, asking the server."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "kernels"), str(TESTS)])
    return subprocess.Popen(
        [sys.executable, *script, *arguments],
        cwd=root,
        env=os.environ | api.environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_limits_are_flags_and_a_spent_one_ends_the_command_with_4(
    library: Path,
    api: MessagesAPI,
    drafted: Sources,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def workbench(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["workbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out + said.err

    for stage, function in CHEAP.items():
        monkeypatch.setitem(stages.STAGES, stage, function)
    monkeypatch.chdir(library)
    api.script[:] = repairing(drafted)
    flags = ("--max-turns", "2", "--max-cost", "0.5", "--effort", "low", "--model", "claude-opus-5")
    code, said = workbench("new", OP, *flags)
    assert (code, len(api.requests)) == (4, 2)
    assert "the limit of 2 turns is reached: 2 turns, 2,700 tokens, $0.01 spent" in said
    assert "turn 2 of 2 · claude-opus-5 · 1,350 tokens · $0.00 of $0.5" in said
    assert api.requests[0]["output_config"] == {"effort": "low"}
    code, said = workbench("runs")
    assert "parked" in said
    code, said = workbench("resume", OP, "--max-turns", "0")
    assert code == 2
    code, said = workbench("resume", OP, "--max-turns", "9")
    assert (code, len(api.requests)) == (0, 5)
    assert "claude author · claude-opus-5 · 5 turns · 6,750 tokens · $0.02" in said
    assert (said + json.dumps(api.requests)).count(KEY) == 0
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    code, said = workbench("new", OP, "--author", "claude")
    assert code == 2
    assert "export ANTHROPIC_API_KEY=" in said


def kinds(root: Path) -> list[str]:
    """What the transcript of the only run has so far, whole lines only."""
    (path,) = (root / ".workbench" / "runs").glob(f"*/{FILE}")
    return [json.loads(line)["kind"] for line in path.read_text().split("\n")[:-1]]


def test_killed_in_the_middle_of_a_stream(library: Path, drafted: Sources) -> None:
    """The finished turns are not asked for again, the half one is, and both of it are paid for."""
    untouched = everything(library)
    steps = [writes(wrong(drafted)), turn(text("I think"), hangs=True)]
    with MessagesAPI(steps) as api:
        process = command(library, api, "new", OP)
        assert api.waiting.wait(180)
        while kinds(library).count("begun") < 2:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        api.script[:] = repairing(drafted)[2:]
        resumed = command(library, api, "resume", OP)
        output, errors = resumed.communicate(timeout=180)
        assert resumed.returncode == 0, output + errors
        assert len(api.requests) == 5
        assert api.requests[2]["messages"] == api.requests[1]["messages"]
        assert "claude author · claude-opus-5-5 · 4 turns · 6,701 tokens" in output
        assert "turn 4 of 40 · submit · 6,701 tokens · $0.01 of $4" in output
    assert engine(library).store.find(OP).state is State.REVIEW
    assert everything(library) == untouched
    assert KEY not in output + errors


def test_the_judge_lets_no_cheat_through_and_the_repaired_op_lands(
    tmp_path: Path, drafted: Sources
) -> None:
    """All of it for real but the model: what PyTorch computes is refused."""
    root = real_library(tmp_path / "library")
    untouched = everything(root)
    honest = "return kernel.relu2(x)"
    assert honest in drafted["wrapper.py"]
    cheat = "return torch.relu(x).square()"
    cheating = (
        drafted["wrapper.py"]
        .replace(honest, cheat)
        .replace("from torch", "import torch\nfrom torch", 1)
    )
    steps = [
        writes(drafted | {"wrapper.py": cheating}),
        turn(call("verify")),
        turn(call("submit")),
        turn(call("edit", file="wrapper.py", old=cheat, new=honest)),
        turn(call("edit", file="wrapper.py", old="import torch\n", new="")),
        turn(call("submit")),
    ]
    with MessagesAPI(steps) as api:
        process = command(root, api, "new", OP, "--tier", "1", script=("-m", "workbench"))
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, output + errors
        asked, repaired = api.results(2)[0]["content"], api.requests[3]["messages"][-1]["content"]
    assert asked.startswith("source: ") and "wrapper.py" in asked
    assert "checks failed" in repaired[1]["text"] and "truth " not in repaired[1]["text"]
    runs = engine(root)
    run = runs.store.find(OP)
    assert run.state is State.REVIEW
    assert [record.result.ok for record in run.records if record.stage == "verify"] == [False, True]
    assert [record.stage for record in run.records].count("review") == 1
    run = runs.approve(run.id, APPROVER)
    committed = git(root, "show", f"workbench/{run.id}:{FOLDER}/wrapper.py")
    assert committed == drafted["wrapper.py"].strip()
    assert everything(root) == untouched
    assert KEY not in output + errors + git(root, "show", f"workbench/{run.id}")
