"""On a GPU: everyone's times against independent clocks, in the same run, at sizes of models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from workbench.authors import Assignment, get
from workbench.bench import table
from workbench.bench.contest import Direction
from workbench.bench.entrant import Rival
from workbench.bench.measure import RIVALS, Plan, measure
from workbench.bench.peers import peers
from workbench.judge import sandbox
from workbench.profile import analyze
from workbench.reference import Reference, find
from workbench_kernels.spec import OpSpec, Traffic

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[1]
# Sizes whose kernels take longer than their launches.
OPS = {
    "relu2": (8192, 14336),
    "swiglu": (8192, 14336),
    "rms_norm": (16384, 4096),
    "layer_norm": (16384, 5120),
    "softmax": (16384, 4096),
}
# Of what is measured likewise, each call with a cold cache; where calls follow each other without
# that, in a stream or in a graph, some kernels take longer and others less.
NEAR = 0.05


def draft(op: str, root: Path) -> Reference:
    """The op as the draft author writes it, in a copy of the library."""
    shutil.copytree(ROOT / "kernels", root / "kernels")
    (root / "tests").mkdir()
    reference = find(op)
    profile = analyze(reference, op)
    get("draft").write(Assignment(profile=profile, reference=reference, root=root, folder=root))
    return reference


def rivals_of(op: str, reference: Reference) -> list[Rival]:
    spec = OpSpec(
        name=op,
        tier=1,
        reference=reference.function,
        inputs=reference.inputs,
        tensors=reference.tensors,
        differentiable=reference.tensors,
        parameters=dict(reference.parameters),
        forward=Traffic(reads=1, writes=1),
        backward=Traffic(reads=1, writes=1),
        shapes=((2, 8),),
        sweep=(OPS[op],),
    )
    return [*RIVALS[:3], *peers(spec)]


def by_others(root: Path, op: str, rivals: list[Rival]) -> dict[str, dict[str, list[float]]]:
    rows, cols = map(str, OPS[op])
    command = [sys.executable, str(ROOT / "tests/triton_clock.py"), str(root), op, rows, cols]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels"), *sys.path])
    }
    done = subprocess.run(
        [*command, json.dumps([asdict(rival) for rival in rivals])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    found: dict[str, dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("op", OPS)
def test_an_independent_clock_says_the_same_of_everyone(op: str, tmp_path: Path) -> None:
    rivals = rivals_of(op, draft(op, tmp_path))
    found = measure(tmp_path, op, Plan([OPS[op]], rivals=rivals))
    for row in table.rows(found):
        print(op, row)
    print(op, table.problems(found), sandbox.find())
    assert not found.failures
    apart = []
    for name, theirs in by_others(tmp_path, op, rivals).items():
        result = found.points[0].of(name)
        assert result is not None
        ways: tuple[Direction, ...] = ("forward", "both")
        for direction in ways:
            ours, (cold, stream, graph) = result.times[direction], theirs[direction]
            said = f"{op} {name} {direction}: {1e6 * ours.median:.1f} us"
            said += f" ({1e6 * ours.low:.1f}-{1e6 * ours.high:.1f})"
            said += f", by another clock {1e6 * cold:.1f}"
            said += f"; in a stream {1e6 * stream:.1f}, in a graph {1e6 * graph:.1f}"
            print(said)
            if abs(ours.median - cold) > NEAR * cold or not ours.holds(cold):
                apart.append(said)
    assert not apart, apart
