"""What bounds each direction of an op, in data and in words; every number is made up."""

from __future__ import annotations

import json
from pathlib import Path

import measured
import pytest
import torch

from workbench.bench import diagnose as diagnosing
from workbench.bench import ncu
from workbench.bench.contest import Direction
from workbench.bench.counters import Counters, KernelCounters
from workbench.bench.diagnose import diagnose
from workbench.bench.diagnosis import Diagnosis, explain
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.errors import UsageError, WorkbenchError

ROWS, COLS = 8192, 14336


def point(seconds: float, host: float, floors: dict[Direction, float]) -> Point:
    """The backward alone, timed without noise."""
    ours = Result(
        contender=OURS,
        rounds={"backward": [[seconds]] * 3},
        host_seconds={"backward": host},
    )
    return Point(
        rows=ROWS,
        cols=COLS,
        dtype="bfloat16",
        bytes={"backward": 3 * 2.0 * ROWS * COLS},
        floors=floors,
        results=(ours,),
    )


def moving(moved: float) -> KernelCounters:
    return KernelCounters(
        direction="backward", kernel="k", dram_read_bytes=moved, dram_written_bytes=0.0
    )


@pytest.mark.parametrize(
    ("seconds", "host", "floor", "excess", "bound"),
    [
        (20e-6, 30e-6, 18e-6, None, "host"),
        (100e-6, 30e-6, 92e-6, None, "bandwidth"),
        (100e-6, 30e-6, 62e-6, None, "latency"),
        (100e-6, 30e-6, 62e-6, 1.0, "latency"),
        (100e-6, 30e-6, 62e-6, 1.5, "traffic"),
        (8e-6, 5e-6, 1e-6, None, "launch"),
        (100e-6, 30e-6, None, None, "unknown"),
    ],
)
def test_a_bound_is_named(
    seconds: float, host: float, floor: float | None, excess: float | None, bound: str
) -> None:
    at = point(seconds, host, {} if floor is None else {"backward": floor})
    counted = [] if excess is None else [moving(excess * at.bytes["backward"])]
    (way,) = explain(at, launches=counted).ways
    assert way.bound == bound
    assert way.share == (None if floor is None else pytest.approx(floor / seconds))
    assert way.excess == (None if excess is None else pytest.approx(excess))


def test_sentences_and_json() -> None:
    compiled = measured.static_report().kernels[-1]
    slow = compiled.model_copy(
        update={"kernel": "_relu2_bwd", "registers": 255, "spill_bytes": 48, "occupancy": 0.125}
    )
    others = [slow.model_copy(update={"cols": n, "registers": n}) for n in (1024, 16384)]
    counted = KernelCounters(
        direction="backward",
        kernel="_relu2_bwd",
        seconds=262.144e-6,
        dram_read_bytes=704643072,
        dram_written_bytes=234881024,
        occupancy=0.248,
        l2_hits=0.333,
        registers=255,
        stall="long scoreboard",
        stall_share=0.8,
    )
    at = point(250e-6, 30e-6, {"backward": 155e-6})
    found = explain(at, [others[0], slow, others[1]], [counted], "no counters: of the forward")
    whole = Diagnosis(op="relu2", device="a GPU", sizes=(found, found))
    assert whole.sentences() == [
        "backward 8192 x 14336: 250.0 us, 0.62 of the floor, host 30.0 us: bound by latency, "
        "occupancy or instructions, room to gain; dram moved 1.33x what must",
        "_relu2_bwd at 4096 columns: 255 registers, 48 bytes spilled, 512 bytes shared, "
        "occupancy 12% by registers",
        "_relu2_bwd in backward 8192 x 14336: 262.1 us, 255 registers, 25% of the warps, "
        "L2 serves 33%, waits for long scoreboard 80% of the time",
        "no counters: of the forward",
    ]
    assert Diagnosis.model_validate_json(whole.model_dump_json()) == whole


def test_a_width_below_all_that_were_compiled_has_the_narrowest() -> None:
    compiled = measured.static_report().kernels[-1]
    wide = [compiled.model_copy(update={"cols": cols}) for cols in (32768, 65536)]
    other = compiled.model_copy(update={"dtype": "float32"})
    found = explain(point(1e-4, 1e-5, {}), [*wide, other])
    assert [kernel.cols for kernel in found.kernels] == [32768]


def made_up() -> Measurement:
    """Two sizes that go well, and one at which the op failed."""
    found = measured.measurement(measured.SIZES[:3])
    failed = Result(contender=OURS, problem="it raised")
    last = found.points[2].model_copy(update={"results": (failed,)})
    return found.model_copy(update={"points": (*found.points[:2], last)})


@pytest.mark.parametrize("broken", [False, True])
def test_what_fails_leaves_the_rest(broken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters that are missing at a size are not tried at the next."""
    asked = []

    def count(root: Path, op: str, size: tuple[int, int], *more: object, **_: float) -> Counters:
        asked.append((op, size, *more))
        return Counters(problem="ncu is not on PATH" if broken else "")

    def compile_it(*_: object) -> object:
        if broken:
            raise WorkbenchError("compiling ended badly:\na traceback")
        return measured.static_report()

    monkeypatch.setattr(ncu, "count", count)
    monkeypatch.setattr(diagnosing, "static_report", compile_it)
    found = diagnose(Path("nowhere"), made_up(), target="sm_90")
    ways = ["forward", "backward"]
    sizes = measured.SIZES[: 1 if broken else 2]
    assert asked == [(measured.OP, size, torch.bfloat16, ways) for size in sizes]
    assert [(at.rows, at.cols, len(at.ways)) for at in found.sizes] == [
        *((128, 1024, 3), (512, 2048, 3)),
    ]
    if broken:
        said = "no kernels compiled: compiling ended badly:; no counters: ncu is not on PATH"
        assert {at.problem for at in found.sizes} == {said}
        assert found.sentences().count(said) == 1
    else:
        assert {at.problem for at in found.sizes} == {"sm_75: <i>too much</i> shared memory"}


def test_only_what_was_measured_can_be_asked_for() -> None:
    with pytest.raises(UsageError, match="was not measured at 2048 x 4096"):
        diagnose(Path("nowhere"), made_up(), [measured.SIZES[2]])


def test_without_a_gpu_the_measurement_still_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = diagnose(Path("nowhere"), made_up(), [measured.SIZES[0]])
    (at,) = found.sizes
    assert [way.bound for way in at.ways] == ["host"] * 3
    assert at.problem == ("no kernels compiled: there is no GPU; no counters: there is no GPU")
    assert json.loads(found.model_dump_json())["sizes"][0]["ways"][0]["bound"] == "host"
