"""On a GPU: everyone's times against Triton's own clock, in the same run, at sizes of models."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.authors import get
from workbench.bench import table
from workbench.bench.contest import Direction
from workbench.bench.entrant import Rival
from workbench.bench.measure import RIVALS, Plan, measure
from workbench.bench.peers import peers
from workbench.profile import analyze
from workbench.reference import find
from workbench.worker.contender import _rearranged
from workbench_kernels.spec import OpSpec

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
NEAR = 0.05


def drafted(op: str, root: Path) -> OpSpec:
    """The op as the draft author writes it, in a copy of the library; it can be imported here."""
    shutil.copytree(ROOT / "kernels", root / "kernels", dirs_exist_ok=True)
    (root / "tests").mkdir(exist_ok=True)
    reference = find(op)
    get("draft").write(analyze(reference, op), reference, root)
    package = import_module("workbench_kernels")
    package.__path__.append(str(root / "kernels" / "workbench_kernels"))
    spec: OpSpec = import_module(f"workbench_kernels.{op}.spec").SPEC
    return spec


def function(rival: Rival, op: str, spec: OpSpec) -> Callable[..., Any]:
    """What a rival is, in this process."""
    if rival.how == "op":
        found: Callable[..., Any] = getattr(import_module(f"workbench_kernels.{op}.wrapper"), op)
        return found
    if rival.how == "call":
        module, _, name = rival.call.partition(":")
        return _rearranged(getattr(import_module(module), name), rival.arguments or {})
    torch._dynamo.reset()
    reference = spec.reference
    return reference if rival.how == "reference" else torch.compile(reference, dynamic=False)


def by_triton(call: Callable[..., Any], inputs: list[Tensor]) -> dict[Direction, float]:
    """Seconds, by Triton's clock."""
    from triton.testing import do_bench

    def median(work: Callable[[], Any]) -> float:
        return float(do_bench(work, warmup=50, rep=300, return_mode="median")) / 1000

    y = call(*inputs)
    y = y[0] if isinstance(y, tuple) else y
    dy = torch.randn_like(y)
    return {
        "forward": median(lambda: call(*inputs)),
        "backward": median(lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)),
    }


@pytest.mark.parametrize("op", OPS)
def test_an_independent_clock_says_the_same_of_everyone(op: str, tmp_path: Path) -> None:
    spec, size = drafted(op, tmp_path), OPS[op]
    rivals = [*RIVALS[:3], *peers(spec)]
    found = measure(tmp_path, op, Plan([size], rivals=rivals))
    assert not found.failures
    inputs = [t.to("cuda", torch.bfloat16).requires_grad_() for t in spec.inputs(*size)]
    apart = []
    for row in table.rows(found):
        print(op, row)
    for rival in rivals:
        result = found.points[0].of(rival.name)
        if result is None:
            print(op, rival.name, table.problems(found))
            continue
        theirs = by_triton(function(rival, op, spec), inputs)
        for direction, seconds in theirs.items():
            ours = result.times[direction]
            said = f"{op} {rival.name} {direction}: {1e6 * ours.median:.1f} us"
            said += f" ({1e6 * ours.low:.1f}-{1e6 * ours.high:.1f}), Triton {1e6 * seconds:.1f}"
            print(said)
            if abs(ours.median - seconds) > NEAR * seconds:
                apart.append(said)
    for name in [name for name in sys.modules if name.startswith(f"workbench_kernels.{op}")]:
        del sys.modules[name]
    assert not apart
