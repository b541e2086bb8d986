"""On a GPU: the judge's clock, the share of the op's own kernels, and how long a verdict takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from court import Court, court, write_fixture

from workbench.judge import verify

pytestmark = pytest.mark.gpu

# The goal for a verdict; and the ops that reach it only on a machine whose cores are not shared,
# with what was measured on the others. On an H200: relu2 8.8, swiglu 9.8, rms_norm 12.3 s.
SECONDS = 15
SLOWER = {
    "swiglu": "14.0 to 15.5 s on an H100, 16 virtual cores",
    "rms_norm": "14.5 to 17.8 s there, of which 7 compile 70 kernels; once 16.0 s on an H200",
}
EAGER = "    y = torch.relu(x).square()\n    return y\n"
# Cheats that only a GPU shows: the check that must find each, and what is replaced in the kernel.
CHEATS = {
    "a fig leaf": ("gpu time", "    return y\n", EAGER),
    "forged events": (
        "clock",
        "BLOCK = 2048\n",
        "BLOCK = 2048\ntorch.cuda.Event.elapsed_time = lambda self, other: 0.001\n",
    ),
    "tired after 300 calls": (
        "clock",
        "    return y\n",
        "    CALLS.append(y)\n    return CALLS[min(len(CALLS), 300) - 1]\n\n\nCALLS: Any = []\n",
    ),
}


@pytest.fixture(scope="module")
def relu2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    with court(write_fixture(tmp_path_factory.mktemp("relu2"), "relu2"), "relu2") as opened:
        yield opened


@pytest.mark.parametrize("op", ["relu2", "swiglu", "rms_norm"])
def test_a_right_op_passes_in_seconds(op: str, tmp_path: Path) -> None:
    verdict = verify(write_fixture(tmp_path, op), op)
    for check in verdict.checks:
        print(f"{op} {check.name:22} {check.status:8} {check.seconds:6.2f} s {check.message[:80]}")
    print(f"{op}: {verdict.seconds} s in the sandbox {verdict.sandbox}")
    assert verdict.passed, verdict.failures
    assert not verdict.interpreted
    assert {c.name for c in verdict.skipped} <= {"parameters"}
    if verdict.seconds >= SECONDS and op in SLOWER:
        pytest.xfail(f"{verdict.seconds} s, as known: {SLOWER[op]}")
    assert verdict.seconds < SECONDS


@pytest.mark.parametrize("name", CHEATS)
def test_what_only_a_gpu_shows(name: str, relu2: Court) -> None:
    check, old, new = CHEATS[name]
    source = relu2.sources()["kernel.py"]
    assert old in source
    found = relu2.checks({"kernel.py": source.replace(old, new)}, [check])
    assert [(c.name, c.status) for c in found if c.status == "failed"] == [(check, "failed")], found
