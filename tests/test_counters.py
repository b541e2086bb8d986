"""What a GPU counts: the table that Nsight Compute prints, a stand-in for it in the sandbox, and
the process it looks into. Tables are laid out as it prints them; every number is made up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from court import write_fixture

from workbench.bench import ncu
from workbench.bench.contest import Direction
from workbench.bench.counters import Counters, KernelCounters, Uncounted, moved, read
from workbench.judge import sandbox
from workbench.judge.sandbox import Level, Sandbox

WAYS: tuple[Direction, ...] = ("forward", "backward", "both")
BEFORE = """\
==PROF== Connected to process 41 (/usr/bin/python3.11)
something that the op printed
==PROF== Profiling "_relu2_bwd" - 0: 0%....50%....100% - 9 passes
"""
AFTER = "==PROF== Disconnected from process 41\n"
PLACE = '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream",'
PLACE += '"Block Size","Grid Size","Device","CC"'
STALLED = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
NAMES = [
    "device__attribute_confidential_computing_mode",
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "gpu__time_duration.sum",
    "launch__registers_per_thread",
    "lts__t_sector_hit_rate.pct",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    *map(STALLED.format, ("barrier", "long_scoreboard", "long_scoreboard_not_issued", "selected")),
]
BASE = ["", "byte", "byte", "ns", "register/thread", "%", "%", "inst", "inst", "inst", "inst"]
SCALED = ["", "Mbyte", "Kbyte", "usecond", "register/thread", "%", "%", *["inst"] * 4]
BACKWARD = ["No-CC", "704,643,072", "234,881,024", "262,144", "255", "33.30", "24.80"]
BACKWARD += ["0.50", "6.00", "99.00", "1.00"]
FORWARD = ["No-CC", "234.90", "200,000.00", "131.07", "32", "n/a", "", "n/a", "n/a", "", ""]


def table(units: Sequence[str], *launches: tuple[str, Sequence[str]]) -> str:
    """A raw page: names, units, a row per launch."""

    def line(cells: Sequence[str]) -> str:
        return ",".join(f'"{cell}"' for cell in cells)

    rows = [f"{PLACE},{line(NAMES)}", line([*[""] * 11, *units])]
    for number, (kernel, cells) in enumerate(launches):
        place = [str(number), "41", "python3.11", "127.0.0.1", kernel, "1", "7"]
        rows.append(line([*place, "(128, 1, 1)", "(57344, 1, 1)", "0", "9.0", *cells]))
    return BEFORE + "\n".join(rows) + "\n" + AFTER


# ---- the table


def test_a_table_in_base_units_is_read() -> None:
    (launch,) = read(table(BASE, ("_relu2_bwd", BACKWARD)), "backward")
    assert (launch.direction, launch.kernel, launch.registers) == ("backward", "_relu2_bwd", 255)
    assert (launch.dram_read_bytes, launch.dram_written_bytes) == (704643072, 234881024)
    assert launch.seconds == pytest.approx(262.144e-6)
    assert (launch.occupancy, launch.l2_hits) == pytest.approx((0.248, 0.333))
    assert (launch.stall, launch.stall_share) == ("long scoreboard", pytest.approx(6 / 7.5))


def test_a_table_in_other_units_with_gaps_is_read() -> None:
    name = "void at::native::elementwise<4, f(int, float)>(int, T2)"
    (launch,) = read(table(SCALED, (name, FORWARD)), "forward")
    assert launch.kernel == name
    assert launch.dram_read_bytes == pytest.approx(234.9e6)
    assert launch.dram_written_bytes == pytest.approx(200e6)
    assert launch.seconds == pytest.approx(131.07e-6)
    assert (launch.occupancy, launch.l2_hits, launch.stall_share) == (None, None, None)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "printed no table"),
        (BEFORE + AFTER, "printed no table"),
        (table(BASE), "saw no kernel"),
        (table(BASE, ("k", BACKWARD[:-2])), "can't be read"),
        (table(["", "Mibit", *BASE[2:]], ("k", BACKWARD)), "'Mibit', which is not known"),
        ('"ID"\n', "can't be read"),
    ],
)
def test_what_is_no_table_is_said(output: str, reason: str) -> None:
    with pytest.raises(Uncounted, match=reason):
        read(output, "forward")


def launch(direction: Direction, moved: float | None, kernel: str = "k") -> KernelCounters:
    return KernelCounters(
        direction=direction, kernel=kernel, dram_read_bytes=moved, dram_written_bytes=0.0
    )


def test_bytes_add_up_by_direction_where_all_were_counted() -> None:
    found = [launch("forward", 1.0), launch("backward", 2.0), launch("backward", 3.0)]
    assert [moved(found, way) for way in WAYS] == [1.0, 5.0, 6.0]
    assert [moved(found[:1], way) for way in WAYS] == [1.0, None, None]
    assert moved([*found, launch("backward", None)], "backward") is None


# ---- ncu


@dataclass(frozen=True)
class Stand:
    """An op's repository, and a program that is found as `ncu`."""

    root: Path
    program: Path

    def counts(self, script: str, timeout: float = 60.0) -> Counters:
        """What comes of it if that is what the program does."""
        self.program.write_text("#!/bin/sh\n" + dedent(script))
        self.program.chmod(0o755)
        return ncu.count(self.root, "relu2", (16, 64), torch.bfloat16, timeout=timeout)


def printing(text: str) -> str:
    """A script that prints this."""
    return f"cat <<'END'\n{text}END\n"


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """As on a machine with a GPU, as far as this one can tell."""
    if not sandbox.find().level.own_processes:
        pytest.skip(f"{sandbox.find()} starts nothing through another program")
    program = tmp_path / "bin" / "ncu"
    program.parent.mkdir()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return Stand(write_fixture(tmp_path / "repository", "relu2"), program)


def test_each_direction_is_counted(stand: Stand) -> None:
    said = table(BASE, ("_relu2_bwd", BACKWARD), ("cast", BACKWARD))
    found = stand.counts("pwd; " + printing(said))
    assert found.problem == ""
    assert [(one.direction, one.kernel) for one in found.launches] == [
        *(("forward", "_relu2_bwd"), ("forward", "cast")),
        *(("backward", "_relu2_bwd"), ("backward", "cast")),
    ]
    assert Counters.model_validate_json(found.model_dump_json()) == found


def test_what_ncu_is_asked_for(stand: Stand) -> None:
    """It is given a sandbox's environment, its options and the limited process; here it fails."""
    found = stand.counts(
        """
        echo "==ERROR== $NV_COMPUTE_PROFILER_LOCAL_CONNECTION_OVERRIDE $HOME $*"
        exit 1
        """
    )
    words = found.problem
    assert words.startswith("forward: ncu exited with 1 (==ERROR== uds /tmp --config-file off")
    assert "--csv --page raw --print-units base --metrics gpu__time_duration.sum,dram__" in words
    assert "guard.py workbench.worker.profiled" in words


def test_the_op_is_confined_under_it(stand: Stand) -> None:
    wrapper = stand.root / "kernels" / "workbench_kernels" / "relu2" / "wrapper.py"
    attempts = f"""
        import os, socket
        attempts = {{
            "network": lambda: socket.socket(socket.AF_INET),
            "parent": lambda: os.kill(os.getppid(), 0),
            "repository": lambda: open({str(wrapper)!r}),
            "ncu": lambda: open({str(stand.program)!r}, "a"),
        }}
        reached = []
        for name, attempt in attempts.items():
            try:
                attempt()
                reached.append(name)
            except OSError:
                pass
        raise RuntimeError(f"reached {{reached}} in spite of {{os.environ['WORKBENCH_LAYERS']}}")
        """
    wrapper.write_text(dedent(attempts))
    found = stand.counts('while [ "$2" != -P ]; do shift; done; exec "$@"')
    words = (
        "forward: ncu exited with 1 (RuntimeError: reached [] in spite of limits,no capabilities"
    )
    assert found.problem.startswith(words)
    assert "seccomp" in found.problem


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (
            'echo "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"; exit 1',
            "the driver lets no process of the sandbox read counters (ERR_NVGPUCTRPERM)",
        ),
        ("kill -SEGV $$", "forward: ncu killed by SIGSEGV"),
        ("echo '==WARNING== No kernels were profiled.'", "ncu printed no table"),
        ('echo \'"ID","Kernel Name"\'', "ncu saw no kernel"),
    ],
)
def test_a_failure_is_named(stand: Stand, script: str, problem: str) -> None:
    assert stand.counts(script) == Counters(problem=problem)


def test_who_takes_too_long_is_ended(stand: Stand) -> None:
    found = stand.counts("echo '==PROF== Connected'; sleep 600", timeout=2.0)
    assert found.problem == "forward: ncu ran out of time (==PROF== Connected)"


def test_what_was_counted_before_a_failure_stays(stand: Stand) -> None:
    said = printing(table(BASE, ("_relu2_fwd", BACKWARD)))
    found = stand.counts(f'case "$*" in *backward*) exit 9;; esac\n{said}')
    assert [one.direction for one in found.launches] == ["forward"]
    assert found.problem == "backward: ncu exited with 9"


def test_without_ncu_nothing_is_counted(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(stand.root))
    assert stand.counts("exit 1") == Counters(problem="ncu is not on PATH")


def test_a_sandbox_that_starts_nothing_through_another_program_is_named(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaker = Sandbox(level=Level.LANDLOCK)
    monkeypatch.setattr(sandbox, "find", lambda: weaker)
    reason = "the sandbox 'landlock' starts nothing through another program"
    assert stand.counts("exit 1") == Counters(problem=reason)


def test_without_cuda_it_is_not_even_tried(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ncu, "Jail", None)
    assert stand.counts("exit 1") == Counters(problem="there is no GPU")


# ---- the process that is looked into


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_is_counted_lies_between_the_marks(direction: Direction, tmp_path: Path) -> None:
    """One call of the direction asked for, once it is warm; with the reference, on the CPU."""
    root = write_fixture(tmp_path, "relu2") / "kernels" / "workbench_kernels"
    script = f"""
        import torch
        from workbench.worker import calls, contender, guard, profiled

        seen = []
        def noting(name, work):
            def noted(*args, **kwargs):
                seen.append(name)
                return work(*args, **kwargs)
            return noted

        reference = {{"how": "reference"}}
        load = contender.load
        contender.load = lambda op, _: noting("call", load(op, reference))
        calls.Call.gradients = noting("gradients", calls.Call.gradients)
        guard.confine = noting("confined", lambda fork: None)
        torch.cuda.synchronize = noting("wait", lambda: None)
        torch.cuda.profiler.start = noting("start", lambda: None)
        torch.cuda.profiler.stop = noting("stop", lambda: None)
        size = {{"rows": 4, "cols": 8, "dtype": "bfloat16"}}
        profiled.main({{"op": "relu2", "path": ["{root}"], "direction": "{direction}", **size}})
        print(*seen)
        """
    command = [sys.executable, "-c", dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    warm = "call " + 3 * "call gradients "
    counted = "call" if direction == "forward" else "gradients"
    assert done.stdout.split() == f"confined {warm} call wait start {counted} wait stop".split()
