"""On a GPU: the bench measures what an independent clock does, and noise is no difference."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from court import write_fixture
from triton_clock import POOL, in_a_stream

from workbench.bench import table
from workbench.bench.entrant import Rival
from workbench.bench.measure import RIVALS, Plan, measure
from workbench.bench.measurement import OURS, Measurement
from workbench.bench.statistics import differ

pytestmark = pytest.mark.gpu

SIZES = ((1024, 4096), (8192, 4096), (8192, 14336))
RIVALS_AND_ITSELF = (*RIVALS[:3], Rival("itself", "op"))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Measurement]:
    root = write_fixture(tmp_path_factory.mktemp("relu2"), "relu2")
    found = measure(root, "relu2", Plan(SIZES, rivals=RIVALS_AND_ITSELF))
    for row in table.rows(found):
        print(row)
    print(found.ceilings, found.failures, table.problems(found))
    for point in found.points:
        print(point.rows, point.cols, point.clock, {r.contender: r.error for r in point.results})
    return root, found


def test_nothing_failed(measured: tuple[Path, Measurement]) -> None:
    assert not measured[1].failures
    assert not table.problems(measured[1])


def test_an_op_is_as_fast_as_itself(measured: tuple[Path, Measurement]) -> None:
    """A/A: no difference is reported at any size; of nine intervals one may be unlucky."""
    ratios = [
        ratio
        for point in measured[1].points
        for direction in ("forward", "backward", "both")
        if (ratio := point.against("itself", direction)) is not None
    ]
    assert len(ratios) == 9
    assert sum(map(differ, ratios)) <= 1, ratios
    assert all(0.95 < ratio.median < 1.05 for ratio in ratios), ratios


def test_an_independent_clock_says_the_same(measured: tuple[Path, Measurement]) -> None:
    """In this process; at sizes where the kernel takes longer than its launch."""
    root, found = measured
    package = import_module("workbench_kernels")
    package.__path__.append(str(root / "kernels" / "workbench_kernels"))
    relu2 = import_module("workbench_kernels.relu2.wrapper").relu2
    for point in found.points[1:]:
        size = point.rows, point.cols
        pool = [torch.randn(size, device="cuda", dtype=torch.bfloat16) for _ in range(POOL)]
        theirs = in_a_stream(lambda number, pool=pool: relu2(pool[number]), cold=True)  # type: ignore[misc]
        ours = point.of(OURS)
        assert ours is not None
        print(size, ours.times["forward"], f"in a stream {theirs}")
        assert ours.times["forward"].median == pytest.approx(theirs, rel=0.05)
        assert ours.times["forward"].holds(theirs)
    del sys.modules["workbench_kernels.relu2.wrapper"]


def test_the_host_takes_less_than_in_a_loop(measured: tuple[Path, Measurement]) -> None:
    """Where kernels are short, the judge's clock over many calls in a row shows the host's time,
    with autograd started once per call: a training step starts it once for all.
    """
    point = measured[1].points[0]
    ours = point.of(OURS)
    assert ours is not None
    print("host", ours.host_seconds, "loop", point.clock)
    assert ours.host_seconds["both"] < point.clock["both"][0]
