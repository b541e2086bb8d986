"""The static report: what an op's kernels use when compiled for named GPUs, with no GPU there.

Registers, spills and shared memory equal what such a GPU loads. Nothing is launched and nothing is
timed. The work is done in a process of its own, `python -m workbench.bench.static ROOT OP`, because
kernels must be compiled here and are interpreted elsewhere. What imports the library is imported
late, when `main` has put the right one first on the path.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workbench.bench.architectures import architecture
from workbench.errors import WorkbenchError

TARGETS = ("sm_80", "sm_90", "sm_100")
DTYPES = ("bfloat16",)
TIMEOUT = 300.0
NO_TIME = "no time was measured"


class KernelUsage(BaseModel):
    """One kernel, compiled for one target; bytes per block, registers per thread.

    `cols` and `dtype` are the first that needed this specialisation. `loads` and `stores` count the
    instructions on global memory, the wide ones among them move 16 bytes or more; these and
    `instructions` are None where Triton's wheel can't disassemble the target. `occupancy` is the
    share of the target's warps that fit at once, by arithmetic.
    """

    model_config = ConfigDict(frozen=True)

    kernel: str
    target: str
    cols: int
    dtype: str
    registers: int
    spill_bytes: int
    shared_bytes: int
    num_warps: int
    loads: int | None
    wide_loads: int | None
    stores: int | None
    wide_stores: int | None
    instructions: int | None
    occupancy: float


class StaticReport(BaseModel):
    """What the compiler said of an op's kernels; no `failures` if they can run on every target."""

    model_config = ConfigDict(frozen=True)

    op: str
    triton: str
    torch: str
    targets: tuple[str, ...]
    dtypes: tuple[str, ...]
    kernels: tuple[KernelUsage, ...] = ()
    failures: tuple[str, ...] = ()
    note: str = f"compiled, not run: {NO_TIME}"

    @property
    def registers(self) -> int:
        """The most registers a thread of any kernel has."""
        return max((kernel.registers for kernel in self.kernels), default=0)

    @property
    def spill_bytes(self) -> int:
        """The most bytes a thread of any kernel spills."""
        return max((kernel.spill_bytes for kernel in self.kernels), default=0)

    @property
    def shared_bytes(self) -> int:
        """The most shared memory a block of any kernel takes."""
        return max((kernel.shared_bytes for kernel in self.kernels), default=0)

    def summary(self) -> list[str]:
        """The facts for one line of a report, the worst over all kernels and targets."""
        facts = [f"no GPU: compiled for {' '.join(self.targets)}"]
        if self.kernels:
            spills = f"{self.spill_bytes} bytes spilled" if self.spill_bytes else "0 spills"
            facts += [f"{self.registers} registers", spills, _width(self.kernels)]
        if self.failures:
            facts.append(f"{len(self.failures)} failed")
        return [*facts, NO_TIME]


def _width(kernels: Sequence[KernelUsage]) -> str:
    """How many of the accesses to global memory are 16 bytes wide, in all kernels together."""
    known = [k for k in kernels if k.loads is not None and k.stores is not None]
    if not known:
        return "width of loads n/a"
    total = sum((k.loads or 0) + (k.stores or 0) for k in known)
    wide = sum((k.wide_loads or 0) + (k.wide_stores or 0) for k in known)
    return f"{wide} of {total} loads and stores 128 bits wide"


def static_report(
    library_root: Path, op: str, targets: Sequence[str] = TARGETS, dtypes: Sequence[str] = DTYPES
) -> StaticReport:
    """Compile the op in the library below `library_root` for `targets`, in a fresh process.

    A kernel that does not compile, or needs more shared memory than a target has, is among the
    report's `failures`.

    Raises:
        UsageError: an unknown target.
        WorkbenchError: the process crashed or took longer than five minutes.
    """
    names = [architecture(target).name for target in targets]
    with tempfile.TemporaryDirectory(prefix="workbench-static-") as folder:
        output = Path(folder) / "report.json"
        command = [sys.executable, "-P", "-m", "workbench.bench.static", str(library_root), op]
        command += ["--targets", ",".join(names), "--dtypes", ",".join(dtypes)]
        command += ["--output", str(output)]
        try:
            process = subprocess.run(
                command,
                env=_environment(library_root, Path(folder)),
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise WorkbenchError(f"compiling {op} took longer than {TIMEOUT:.0f} s") from error
        if process.returncode or not output.is_file():
            last = "\n".join((process.stdout + process.stderr).strip().splitlines()[-15:])
            raise WorkbenchError(f"compiling {op} failed with code {process.returncode}:\n{last}")
        return StaticReport.model_validate_json(output.read_text())


def _environment(library_root: Path, folder: Path) -> dict[str, str]:
    """That library first on the path, kernels not interpreted, a compile cache of its own."""
    engine = Path(__file__).resolve().parents[2]
    paths = [str(library_root.resolve() / "kernels"), str(engine), os.environ.get("PYTHONPATH", "")]
    inherited = {name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"}
    return inherited | {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "TRITON_CACHE_DIR": str(folder / "triton"),
    }


def compile_op(op: str, targets: tuple[str, ...], dtypes: tuple[str, ...]) -> StaticReport:
    """The report, for the library this process imports; the targets side by side."""
    import torch
    import triton

    from workbench.bench import capture

    capture.warm_up(op)
    # Forked, to share that. Only the main thread has run so far, so nothing is lost in the fork.
    workers = min(len(targets), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        compiled = list(pool.map(partial(_compile_for, op, dtypes), targets))
    return StaticReport(
        op=op,
        triton=triton.__version__,
        torch=torch.__version__,
        targets=targets,
        dtypes=dtypes,
        kernels=tuple(usage for usages, _ in compiled for usage in usages),
        failures=tuple(failure for _, failures in compiled for failure in failures),
    )


def _compile_for(
    op: str, dtypes: tuple[str, ...], target: str
) -> tuple[list[KernelUsage], list[str]]:
    """The usages and failures of one target."""
    import torch

    from workbench.bench import capture, cubin

    limits = architecture(target)
    captured = capture.capture(op, limits, [getattr(torch, dtype) for dtype in dtypes])
    usages = []
    for kernel in captured.compiled.values():
        usage = cubin.read(kernel.cubin)
        if kernel.shared_bytes > limits.shared_per_block:
            captured.fail(
                f"{kernel.kernel} at {kernel.cols} columns takes {kernel.shared_bytes} bytes of "
                f"shared memory; a block can have {limits.shared_per_block}"
            )
        usages.append(
            KernelUsage(
                kernel=kernel.kernel,
                target=target,
                cols=kernel.cols,
                dtype=str(kernel.dtype).removeprefix("torch."),
                shared_bytes=kernel.shared_bytes,
                num_warps=kernel.num_warps,
                occupancy=limits.occupancy(usage.registers, kernel.shared_bytes, kernel.num_warps),
                **asdict(usage),
            )
        )
    return usages, [f"{target}: {failure}" for failure in captured.failures]


def main() -> None:
    """Compile one op and write its report as JSON."""
    parser = argparse.ArgumentParser(prog="workbench.bench.static", description=__doc__)
    parser.add_argument("root", type=Path, help="the repository that holds the library")
    parser.add_argument("op")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.root.resolve() / "kernels"))
    os.environ.pop("TRITON_INTERPRET", None)
    targets = tuple(architecture(target).name for target in arguments.targets.split(","))
    report = compile_op(arguments.op, targets, tuple(arguments.dtypes.split(",")))
    arguments.output.write_text(report.model_dump_json(indent=1))


if __name__ == "__main__":
    main()
