"""The command as a user runs it: in a process, with its output, its errors, its exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from runs_fixtures import everything, git, library

__all__ = ["library"]
TESTS = Path(__file__).parent
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")} | {
    "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "kernels")]),
    "TERM": "xterm",
}
CHEAP = (sys.executable, str(TESTS / "helpers_runs.py"))
REAL = (sys.executable, "-m", "workbench")
Process = subprocess.CompletedProcess[str]


def workbench(
    folder: Path, *arguments: str, command: tuple[str, ...] = CHEAP, **environment: str
) -> Process:
    """`workbench ARGUMENTS` in a folder, with stages that cost nothing unless it's the real one."""
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def answer(process: Process) -> dict[str, Any]:
    """The one JSON object on standard output."""
    data: dict[str, Any] = json.loads(process.stdout)
    return data


def on_a_terminal(folder: Path, columns: int, *arguments: str, **environment: str) -> str:
    """What the command shows on a terminal of that width, without colours."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*CHEAP, *arguments],
        cwd=folder,
        env=ENVIRONMENT | environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while chunk := _read(controller):
        shown += chunk
    process.wait()
    os.close(controller)
    return shown.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def plain(shown: str) -> list[str]:
    """The lines a terminal ends up with: no colours, no line that was drawn over."""
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).split("\n")
    return [line.rpartition("\r")[2] for line in lines]


@pytest.fixture
def run(library: Path) -> str:
    """Id of a run that waits for its review."""
    return str(answer(workbench(library, "new", "relu2", "--json"))["id"])


def test_new_prints_one_line_per_stage_and_ends_well(library: Path) -> None:
    process = workbench(library, "new", "relu2")
    assert process.returncode == 0, process.stderr
    *lines, last = process.stdout.splitlines()
    assert lines == [
        "analyze    reference relu(x)² · tier 1",
        "generate   draft author",
        "verify     4 cases · 0 failed",
        "bench      no GPU",
    ]
    waiting = r"review     waiting for you:  workbench review (relu2-[0-9a-f]{4})   then  "
    assert re.fullmatch(waiting + r"workbench approve \1", last)


def test_approve_says_where_the_commit_is(library: Path, run: str) -> None:
    before = everything(library)
    process = workbench(library, "approve", run, "--as", "Grace Hopper <grace@example.org>")
    assert process.returncode == 0, process.stderr
    commit, merge = process.stdout.splitlines()
    at = git(library, "rev-parse", f"workbench/{run}")
    assert commit.startswith(f"commit     {at[:10]} on branch workbench/{run}")
    assert commit.endswith("approved by Grace Hopper <grace@example.org>")
    assert merge == f"next       git merge workbench/{run}"
    assert everything(library) == before
    git(library, *merge.split()[2:])
    assert workbench(library, "ops").stdout.splitlines()[1].startswith("relu2 ")


def test_a_run_may_be_called_by_what_it_begins_with(library: Path, run: str) -> None:
    assert workbench(library, "show", run[:7]).stdout.startswith(f"run        {run} · review")


def test_review_shows_what_is_not_known_and_every_line(library: Path, run: str) -> None:
    shown = workbench(library, "review", run).stdout
    assert "not known  how fast it is: no time was measured" in shown
    assert '+"""kernel.py of relu2."""' in shown
    assert f"approve    workbench approve {run}" in shown


def test_reject_needs_a_reason_and_keeps_it(library: Path, run: str) -> None:
    assert workbench(library, "reject", run).returncode == 2
    assert workbench(library, "reject", run, "--reason", "too slow").returncode == 0
    assert workbench(library, "runs").stdout.split()[:2] == [run, "rejected"]
    assert "too slow" in workbench(library, "runs").stdout
    again = workbench(library, "approve", run)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error      run {run} was rejected: too slow")


def test_abort_and_resume(library: Path, run: str) -> None:
    assert workbench(library, "resume", run).returncode == 0
    assert workbench(library, "abort", run).stdout == f"aborted    {run}\n"
    assert workbench(library, "resume", run).returncode == 1


def test_json_is_one_object_on_every_command(library: Path, run: str) -> None:
    calls: dict[tuple[str, ...], str] = {
        ("runs",): "runs",
        ("show", run): "records",
        ("review", run): "diff",
        ("ops",): "catalogues",
        ("approve", run): "approval",
        ("show", "nothing"): "error",
        ("report", run): "report",
        ("verify-report", "README.md"): "findings",
        ("verify-report", "nowhere.md"): "error",
        ("performance", "--check"): "error",
        ("abort", run): "hint",
    }
    for arguments, key in calls.items():
        assert key in answer(workbench(library, *arguments, "--json")), arguments
    assert answer(workbench(library, "show", run, "--json"))["state"] == "committed"


def test_a_failed_verification_ends_with_its_code(library: Path) -> None:
    process = workbench(library, "new", "relu2", STAGES="verify=fails")
    assert process.returncode == 5
    assert (
        "verify     1 failed\n           dx is wrong at (3, 1000) in bfloat16\n" in process.stdout
    )
    assert "workbench resume relu2-" in process.stderr
    process = workbench(library, "new", "relu2", "--json", STAGES="verify=fails")
    assert process.returncode == 5
    assert answer(process)["state"] == "failed"


def test_a_report_and_its_check(library: Path, run: str) -> None:
    assert workbench(library, "report", run).stdout.startswith("**relu2: verified**, 0<!--=")
    written = workbench(library, "report", run, "--output", "report.md")
    assert written.stdout == "report     report.md · workbench verify-report report.md\n"
    report = library / "report.md"
    checked = workbench(library, "verify-report", "report.md")
    assert checked.returncode == 0, checked.stdout
    assert re.fullmatch(
        r"report     \d+ numbers checked · 2 records cited · 0 wrong\n", checked.stdout
    )
    line = report.read_text().count("\n") + 1
    report.write_text(report.read_text() + "It is 3.5x faster.\n")
    checked = workbench(library, "verify-report", "report.md")
    assert checked.returncode == 5
    assert checked.stdout.startswith(
        f"wrong      report.md:{line}:7: 3.5x: no record says this number\n"
        "           cite the record it is from, or leave it out\n"
    )
    data = workbench(library, "verify-report", "report.md", "--json")
    assert data.returncode == 5
    assert (answer(data)["passed"], answer(data)["findings"][0]["column"]) == (False, 7)


def test_a_text_without_numbers_says_so(library: Path) -> None:
    checked = workbench(library, "verify-report", "README.md")
    assert checked.returncode == 0
    assert checked.stdout == "report     0 numbers checked · 0 records cited · 0 wrong\n"


def test_an_author_that_gives_up_ends_with_its_code(library: Path) -> None:
    process = workbench(library, "new", "relu2", STAGES="generate=gives_up")
    assert process.returncode == 4
    assert process.stdout.splitlines()[-1] == "generate   failed"
    assert process.stderr == (
        "error      the draft author has no rule for aten.sort\n"
        "           another author can: --author\n"
    )


def test_a_bug_keeps_its_traceback_and_the_run(library: Path) -> None:
    process = workbench(library, "new", "relu2", STAGES="bench=is_buggy")
    assert process.returncode == 70
    assert "a bug in the workbench: ZeroDivisionError: division by zero" in process.stderr
    assert "Traceback" not in process.stderr
    (log,) = (library / ".workbench" / "log").iterdir()
    assert str(log) in process.stderr
    assert "in is_buggy" in log.read_text()
    assert workbench(library, "resume", "relu2").returncode == 0


def test_ctrl_c_says_how_to_go_on(library: Path) -> None:
    process = subprocess.Popen(
        [*CHEAP, "new", "relu2"],
        cwd=library,
        env=ENVIRONMENT | {"SLOW": "20"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list((library / ".workbench" / "runs").glob("*/lock")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"error      run relu2-.... was stopped\n +workbench resume relu2-", errors)
    assert workbench(library, "resume", "relu2").returncode == 0


def test_outside_a_repository(tmp_path: Path) -> None:
    process = workbench(tmp_path, "new", "relu2")
    assert process.returncode == 1
    assert "is not inside a git repository" in process.stderr
    assert process.stdout == ""


def test_without_a_run_there_is_nothing_to_list(library: Path) -> None:
    assert workbench(library, "runs").stdout == "runs       none yet:  workbench new NAME\n"
    assert answer(workbench(library, "runs", "--json")) == {"runs": []}
    assert not (library / ".workbench").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["new"], 2, "Missing argument"),
        (["new", "relu2", "--tier", "one"], 2, "--tier"),
        (["newish"], 2, "No such command"),
        (["report", "relu2"], 1, "no run 'relu2'"),
        (["verify-report", "nowhere.md"], 2, "can't be read"),
        (["new", "Relu-2"], 2, "is not a name for an op"),
        (["approve", "relu2-0000"], 1, "no run 'relu2-0000'"),
        (["approve", "relu2-0000", "--as", "nobody"], 2, "does not name a person"),
    ],
)
def test_a_wrong_call(library: Path, arguments: list[str], code: int, says: str) -> None:
    process = workbench(library, *arguments)
    assert process.returncode == code
    assert says in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_fits_a_terminal(library: Path, columns: int) -> None:
    lines = plain(on_a_terminal(library, columns, "new", "relu2", STAGES="verify=has_much_to_say"))
    assert all(len(line) <= columns for line in lines), lines
    at = next(n for n, line in enumerate(lines) if line.startswith("verify     96 cases"))
    assert lines[at + 1].startswith(" " * 11 + "and so on")
    for arguments in (["review", "relu2"], ["ops"]):
        lines = plain(on_a_terminal(library, columns, *arguments))
        assert all(len(line) <= columns for line in lines), lines


def test_a_stage_that_takes_long_shows_for_how_long(library: Path) -> None:
    shown = on_a_terminal(library, 80, "new", "relu2", SLOW="1.2")
    assert re.search(r"verify .*0:00:01", shown.replace("\x1b[0m", ""))
    assert "verify     4 cases · 0 failed" in plain(shown)


def test_asking_for_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from workbench import cli\n"
        "try: cli.app(['new', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'triton', 'git', 'sqlite3', 'jinja2', 'matplotlib')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    process = workbench(tmp_path, command=(sys.executable, "-c", program))
    assert process.stdout.splitlines()[-1] == "[]"


def test_who_asks_for_little_waits_for_no_torch(library: Path) -> None:
    traced = (sys.executable, "-X", "importtime", *CHEAP[1:])
    for arguments in (["new", "relu2"], ["ops"], ["verify", "nothing"]):
        process = workbench(library, *arguments, command=traced)
        imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
        assert "workbench.cli" in imported
        assert "torch" not in imported, arguments


def test_a_tier_that_is_not_the_ops(library: Path) -> None:
    """Through the real stages: traced, refused, with the node that decided it."""
    process = workbench(library, "new", "l2_normalize", "--tier", "1", command=REAL)
    assert process.returncode == 1, process.stderr
    assert "l2_normalize is tier 2, not tier 1: row reduction: forward node" in process.stderr
    assert "--force-tier" in process.stderr
    assert workbench(library, "runs").stdout.split()[1] == "failed"
