"""What is shown of a measurement while it runs; its numbers are made up."""

from __future__ import annotations

import io

from measured import OP, SIZES, measurement
from rich.console import Console

from workbench.bench.progress import Step
from workbench.jobs import Job
from workbench.live import Watch
from workbench.watches import Watches


def job(label: str) -> Job:
    return Job(label, OP, {}, print)


def steps() -> list[Step]:
    first, second = measurement(SIZES[:2]).points
    return [
        Step("what this GPU does at best", sizes=2),
        Step("128 x 1024", 0, 2, "eager", "round 3 of 12"),
        Step("128 x 1024", 1, 2, point=first),
        Step("512 x 2048", 1, 2, "torch.compile", "warms up"),
        Step("512 x 2048", 2, 2, point=second),
    ]


def test_without_a_terminal_a_line_for_each_size() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Watches(console) as watches:
        for step in steps():
            watches(job(OP), step)
        for _ in range(2):
            watches(job(OP), Step("waiting for GPU-1", notice=True))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split(" · ")[:3] for line in lines] == [
        [f"measuring  {OP}", "1 of 2 sizes", "128 x 1024"],
        [f"measuring  {OP}", "2 of 2 sizes", "512 x 2048"],
        [f"           {OP}", "waiting for GPU-1"],
    ]
    assert " us both · eager 0." in lines[0]
    with Watches(None) as silent:
        silent(job(OP), steps()[2])  # --json


def test_on_a_terminal_a_table_that_grows() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    seen = Console(file=io.StringIO(), width=100)
    with Watches(console) as watches:
        for step in steps()[:-1]:
            watches(job(OP), step)
        seen.print(watches.shown())
    table = seen.file.getvalue()  # type: ignore[attr-defined]
    assert "eager" in table and "128 x 1024" in table
    assert "1 of 2 sizes" in table and "512 x 2048 · torch.compile · warms up" in table
    assert "measuring" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_several_jobs_have_a_line_each() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    seen = Console(file=io.StringIO(), width=100)
    jobs = [job("relu2 on H100"), job("relu2 on A100")]
    with Watches(console) as watches:
        for one in jobs:
            for step in steps()[:-1]:
                watches(one, step)
        seen.print(watches.shown())
        watches.ended(jobs[0])
        seen.print(watches.shown())
    first, second, *table = seen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.startswith("relu2 on H100") and second.startswith("relu2 on A100")
    assert "1 of 2 sizes" in first and "eager" not in first
    assert table[0].startswith("relu2 on A100") and "eager" in table[0]


def test_a_table_fits_its_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, height=8, force_terminal=True)
    watch = Watch(OP, console)
    for done, point in enumerate(measurement(rounds=6).points):
        watch(Step("a size", done + 1, len(SIZES), point=point))
    seen = Console(file=io.StringIO(), width=80)
    seen.print(watch.table())
    lines = seen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= 8 and "6 of 6 sizes" in lines[-1]
    assert lines[-2].startswith("32768 x 16384")
