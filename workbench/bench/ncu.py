"""Nsight Compute's command line over one op, in the judge's sandbox.

`ncu` starts the process it looks into. So it stands between the sandbox's walls and the limits that
process puts on itself before it imports the op: the op is confined as a contender is, and ncu is
behind the same walls. The two speak through Unix sockets, which a sandbox without a network has.

The table is read from what all of them print, and the op could print one too: counters explain a
time, and decide nothing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from workbench.bench.contest import Direction
from workbench.bench.counters import METRICS, STALLS, Counters, KernelCounters, Uncounted, read
from workbench.channel import dtype_name
from workbench.errors import UsageError
from workbench.judge import sandbox
from workbench.judge.jail import GIB, Jail, default_memory
from workbench.judge.stage import Stage, prepare

# For one direction: PyTorch's start, compiling, and some ten replays of each kernel.
TIMEOUT_SECONDS = 180.0
_OPTIONS = (
    *("--config-file", "off", "--target-processes", "all", "--profile-from-start", "off"),
    *("--clock-control", "none", "--csv", "--page", "raw", "--print-units", "base"),
    *("--metrics", ",".join([*METRICS, f"regex:{STALLS}"])),
)
_VARIABLES = {
    "NV_COMPUTE_PROFILER_LOCAL_CONNECTION_OVERRIDE": "uds",  # not TCP
    "NV_COMPUTE_PROFILER_DISABLE_STOCK_FILE_DEPLOYMENT": "1",  # else it writes to the home folder
    "LC_ALL": "C.UTF-8",  # a comma is for thousands
}
# Where the package is that the toolkit's own `ncu` only leads to.
_PACKAGES = Path("/opt/nvidia/nsight-compute")
_MEMORY = 24 * GIB  # a kernel that is replayed may be saved to the host's memory
_FORBIDDEN = "ERR_NVGPUCTRPERM"


def count(
    root: Path,
    op: str,
    size: tuple[int, int],
    dtype: torch.dtype,
    directions: Sequence[Direction] = ("forward", "backward"),
    *,
    timeout: float = TIMEOUT_SECONDS,
) -> Counters:
    """What the GPU counts while the op in the library below `root` runs once in each direction.

    Never fails: what could not be counted is missing, and the `problem` says why.
    """
    rows, cols = size
    found: list[KernelCounters] = []
    try:
        program = _program()
        with tempfile.TemporaryDirectory(prefix="workbench-ncu-") as folder:
            stage = prepare(root, op, Path(folder))
            asked = {"op": op, "rows": rows, "cols": cols, "dtype": dtype_name(dtype)}
            for direction in directions:
                jail = _run(program, stage, {**asked, "direction": direction}, timeout)
                found += _launches(jail, direction)
    except (Uncounted, UsageError) as error:
        return Counters(launches=tuple(found), problem=str(error))
    return Counters(launches=tuple(found))


def _program() -> Path:
    """Where `ncu` is.

    Raises:
        Uncounted: it is not installed, or there is nothing to count.
    """
    if not torch.cuda.is_available():
        raise Uncounted("there is no GPU")
    found = shutil.which("ncu")
    if found is None:
        raise Uncounted("ncu is not on PATH")
    return Path(found).absolute()


def _run(program: Path, stage: Stage, settings: dict[str, object], timeout: float) -> Jail:
    """The jail, when all in it has ended."""
    settings = {**settings, "path": stage.path(stage.suite)}
    jail = Jail(
        "workbench.worker.profiled",
        [json.dumps(settings)],
        sandbox=sandbox.find(),
        python_path=[stage.engine, stage.library],
        read=[stage.suite, *_package(program)],
        environment=_VARIABLES,
        launcher=[str(program), *_OPTIONS],
        fork=True,
        gpu=True,
        memory=default_memory(_MEMORY),
        deadline=time.monotonic() + timeout,
    )
    with jail:
        jail.wait()
    return jail


def _package(program: Path) -> list[Path]:
    """What must be readable to start it: the program, and the package it belongs to."""
    resolved = program.resolve()
    whole = (resolved.parent / "target").is_dir()
    return [program, resolved.parent if whole else resolved, _PACKAGES]


def _launches(jail: Jail, direction: Direction) -> list[KernelCounters]:
    if _FORBIDDEN in jail.output:
        raise Uncounted(f"the driver lets no process of the sandbox read counters ({_FORBIDDEN})")
    if jail.ending:
        raise Uncounted(f"{direction}: ncu {jail.ending}{_words(jail)}")
    return read(jail.output, direction)


def _words(jail: Jail) -> str:
    """The last error it printed, else the last line."""
    errors = [line for line in jail.output.splitlines() if line.startswith("==ERROR==")]
    said = errors[-1] if errors else jail.last_words()
    return f" ({said})" if said else ""
