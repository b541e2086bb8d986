"""On a GPU with Nsight Compute: what is counted is what must move, and what was compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_gpu_peers import draft

from workbench.bench import ncu
from workbench.bench.counters import Counters
from workbench.bench.diagnose import diagnose
from workbench.bench.entrant import Rival
from workbench.bench.measure import Plan, measure
from workbench.bench.measurement import OURS

pytestmark = pytest.mark.gpu

SIZE = (8192, 14336)
# What a machine may lack; anything else that is missing is a bug.
LACKING = ("ncu is not on PATH", "ERR_NVGPUCTRPERM", "starts nothing through another program")


def skip_without(counted: str) -> None:
    print(counted)
    if any(lack in counted for lack in LACKING):
        pytest.skip(counted)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with relu2 as the draft author writes it."""
    root = tmp_path_factory.mktemp("relu2")
    draft("relu2", root)
    return root


def test_dram_moves_what_must(root: Path) -> None:
    counted: Counters = ncu.count(root, "relu2", SIZE, torch.bfloat16, ["forward"])
    skip_without(counted.problem)
    assert counted.problem == ""
    print(counted)
    (launch,) = counted.launches
    must = 2 * SIZE[0] * SIZE[1] * torch.bfloat16.itemsize
    assert launch.dram_bytes == pytest.approx(must, rel=0.15)


def test_all_that_is_known_of_an_op_agrees(root: Path) -> None:
    """The kernel is not autotuned: the one that ran is the one that was compiled."""
    measured = measure(root, "relu2", Plan([SIZE], rivals=[Rival(OURS, "op")], rounds=4))
    found = diagnose(root, measured)
    print(*found.sentences(), sep="\n")
    (at,) = found.sizes
    skip_without(at.problem)
    assert at.problem == ""
    registers = {kernel.kernel: kernel.registers for kernel in at.kernels}
    assert {launch.kernel: launch.registers for launch in at.launches} == registers
    for way in at.ways:
        counted = [one.seconds or 0.0 for one in at.launches if one.direction == way.direction]
        if way.direction != "both":
            assert sum(counted) == pytest.approx(way.seconds, rel=0.25)
        assert way.excess == pytest.approx(1.0, rel=0.15)
