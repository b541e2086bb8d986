"""A made-up measurement, for tests only: nothing of it was ever timed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runs_fixtures import FILES, MACHINE, git, make_library, verdict

from workbench.bench.contest import Direction, Rounds
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.bench.static import Floor, KernelUsage, StaticReport
from workbench.evidence import Evidence
from workbench.evidence.document import Document
from workbench.layout import evidence_path, op_paths
from workbench.repository import content

OP = "swish_made_up"
COPY, MATMUL = 4.249e12, 6.94e14
MAX_AUTOTUNE = "torch.compile max-autotune"
PROBLEM = "ModuleNotFoundError: No module named 'peer' <script>alert(1)</script> $x$ & \"more\""
WAYS: tuple[Direction, ...] = ("forward", "backward", "both")
SIZES = [(128, 1024), (512, 2048), (2048, 4096), (8192, 4096), (16384, 8192), (32768, 16384)]
# Seconds that a launch takes at least, and how much of a copy's rate is reached.
SPEEDS = {
    OURS: (6.0e-6, 0.93),
    "eager": (5.0e-6, 0.31),
    "torch.compile": (7.5e-6, 0.88),
    MAX_AUTOTUNE: (7.2e-6, 0.94),
}
TRANSFERS: dict[Direction, int] = {"forward": 2, "backward": 3, "both": 5}


def measurement(sizes: Sequence[tuple[int, int]] = SIZES, rounds: int = 12) -> Measurement:
    """The same for the same sizes: noise, small sizes that are lost, a peer that can't be loaded
    and one that does not take the largest size.
    """
    chance = random.Random(7)
    points = []
    for rows, cols in sizes:
        moved = {way: 2.0 * rows * cols * n for way, n in TRANSFERS.items()}
        results = [_result(name, moved, rounds, chance) for name in SPEEDS]
        if rows * cols > 1 << 28:
            too_large = "RuntimeError: out of memory"
            results[2] = Result(contender="torch.compile", problem=too_large)
        results.append(Result(contender="peer <b>", problem=PROBLEM))
        clock: dict[Direction, tuple[float, float]] = {
            way: (results[0].times[way].median * 1.01, results[0].times[way].median)
            for way in ("forward", "both")
        }
        points.append(
            Point(
                rows=rows,
                cols=cols,
                dtype="bfloat16",
                bytes=moved,
                floors={way: n / COPY for way, n in moved.items()},
                results=tuple(results),
                clock=clock,
            )
        )
    return Measurement(
        op=OP,
        device="NVIDIA H200 (made up)",
        seed=1234567,
        ceilings={"copy bytes/s": COPY, "bf16 FLOP/s": MATMUL},
        points=tuple(points),
    )


def _result(name: str, moved: dict[Direction, float], rounds: int, chance: random.Random) -> Result:
    launch, share = SPEEDS[name]
    timed: dict[Direction, Rounds] = {}
    for way, n in moved.items():
        least = launch * (2 if way == "both" else 1)
        seconds = (least**3 + (n / COPY / share) ** 3) ** (1 / 3)
        timed[way] = [
            [seconds * (1 + abs(chance.gauss(0, 0.012))) for _ in range(5)] for _ in range(rounds)
        ]
    return Result(
        contender=name,
        rounds=timed,
        peak_bytes=int(moved["forward"] * (3 if name == "eager" else 1.5)),
        host_seconds={way: launch * 4 * chance.uniform(0.95, 1.05) for way in moved},
        error=float("inf") if name == "eager" else chance.uniform(0.5, 1.0),
    )


def static_report() -> StaticReport:
    """What a compiler might have said."""
    kernels = tuple(
        KernelUsage(
            kernel=f"_{OP}_{way}",
            target=target,
            cols=4096,
            dtype="bfloat16",
            registers=38,
            spill_bytes=0,
            shared_bytes=512,
            num_warps=4,
            loads=4,
            wide_loads=4,
            stores=2,
            wide_stores=None,
            instructions=None,
            occupancy=0.75,
        )
        for target in ("sm_80", "sm_90")
        for way in ("fwd", "bwd")
    )
    return StaticReport(
        op=OP,
        triton="3.7.1",
        torch="2.13.0",
        targets=("sm_80", "sm_90"),
        dtypes=("bfloat16",),
        kernels=kernels,
        floors=(
            Floor(
                rows=8192, cols=4096, dtype="bfloat16", forward_bytes=1.5e8, backward_bytes=2.25e8
            ),
        ),
        failures=("sm_75: <i>too much</i> shared memory",),
    )


def record(found: Measurement | StaticReport | dict[str, Any], **other: Any) -> Evidence:
    """A record of what was found; a verification's of a dict."""
    kind = {Measurement: "measurement", StaticReport: "compilation"}.get(type(found))
    data = found if isinstance(found, dict) else found.model_dump()
    given: dict[str, Any] = {
        "kind": kind or "verification",
        "op": OP,
        "files": {f"{op_paths(OP)[0]}/kernel.py": "0" * 64},
        "library": {},
        "seed": 1234567,
        "recipe": {"inputs": "drawn from the seed"},
        "machine": MACHINE,
        "versions": {"python": "3.11.7", "torch": "2.13.0", "triton": "3.7.1"},
        "created": datetime(2026, 8, 1, 12, 30, tzinfo=UTC),
        "workbench": {"version": "0.1.0"},
        "summary": () if isinstance(found, dict) else tuple(found.summary()),
        "data": data,
    }
    return Evidence.model_validate(given | other)


def repository(root: Path) -> Path:
    """A library with the op's files, committed, and no evidence."""
    make_library(root)
    folder, test = (root / path for path in op_paths(OP))
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(f'"""{name} of an op."""\n')
    test.parent.mkdir(parents=True)
    test.write_text("def test_it() -> None: ...\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "Add an op")
    return root


def document(root: Path, *found: Measurement | StaticReport) -> Document:
    """Lay evidence of the op's files beside them, as a run's commit has it."""
    present = content(root, OP)
    everything = [verdict(), *found]
    records = [record(one, files=present.digests) for one in everything]
    made = Document.of(OP, present, records)
    (root / evidence_path(OP)).write_text(made.dump())
    return made
