"""The static report: what an op's kernels use when compiled for named GPUs, with no GPU there.

Registers, spills and shared memory equal what such a GPU loads. Nothing is launched and nothing is
timed. The work is done in a jail, because an op is somebody's code, and because kernels must be
compiled here and are interpreted elsewhere. What imports the op is imported late, when its process
is confined.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from workbench.bench.architectures import architecture
from workbench.errors import WorkbenchError
from workbench.text import printable, printable_lines
from workbench.worker import guard

if TYPE_CHECKING:
    import torch

    from workbench.judge.jail import Jail
    from workbench_kernels.spec import OpSpec

TARGETS = ("sm_80", "sm_90", "sm_100")
DTYPES = ("bfloat16",)
TIMEOUT = 300.0
# Compiled besides the sizes that are timed: tiles of one row are a case of their own to compilers.
_LONE_ROWS = ((2, 8192),)
NO_TIME = "no time was measured"
_GRACE_SECONDS = 5.0
_MOST_BYTES = 16 << 20


class KernelUsage(BaseModel):
    """One kernel, compiled for one target; bytes per block, registers per thread.

    `cols` and `dtype` are the first that needed this specialisation. `loads` and `stores` count the
    instructions on global memory, the wide ones among them move 16 bytes or more; these and
    `instructions` are None where Triton's wheel can't disassemble the target. `occupancy` is the
    share of the target's warps that fit at once, by arithmetic.
    """

    model_config = ConfigDict(frozen=True)

    kernel: Annotated[str, AfterValidator(printable)]
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


class Floor(BaseModel):
    """The bytes that must move at one of the sizes that a benchmark times, whatever the kernel."""

    model_config = ConfigDict(frozen=True)

    rows: int
    cols: int
    dtype: str
    forward_bytes: float
    backward_bytes: float


class StaticReport(BaseModel):
    """What the compiler said of an op's kernels, and what no kernel gets below; no `failures` if
    they can run on every target.
    """

    model_config = ConfigDict(frozen=True)

    op: str
    triton: str
    torch: str
    targets: tuple[str, ...]
    dtypes: tuple[str, ...]
    kernels: tuple[KernelUsage, ...] = ()
    floors: tuple[Floor, ...] = ()
    failures: tuple[Annotated[str, AfterValidator(printable_lines)], ...] = ()
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
        WorkbenchError: the process ended without a report, or took longer than five minutes.
    """
    # Only here: the jailed process has no judge.
    from workbench.judge import sandbox
    from workbench.judge.jail import Jail
    from workbench.judge.stage import prepare

    names = [architecture(target).name for target in targets]
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="workbench-static-") as folder, ours:
        stage = prepare(library_root, op, Path(folder))
        settings = {
            "op": op,
            "path": stage.path(stage.suite),
            "targets": names,
            "dtypes": list(dtypes),
        }
        jail = Jail(
            "workbench.bench.static",
            [str(theirs.fileno()), json.dumps(settings)],
            sandbox=sandbox.find(),
            python_path=[stage.engine, stage.library],
            read=[stage.suite],
            pass_fds=[theirs.fileno()],
            fork=True,
            deadline=time.monotonic() + TIMEOUT,
        )
        with jail:
            theirs.close()
            answer = _read(ours)
            jail.wait(_GRACE_SECONDS)
        return _report(op, answer, jail)


def _read(end: socket.socket) -> bytes:
    """What comes until the other end is closed, up to what no report reaches."""
    with end.makefile("rb") as file:
        return file.read(_MOST_BYTES)


def _report(op: str, answer: bytes, jail: Jail) -> StaticReport:
    try:
        return StaticReport.model_validate_json(answer)
    except ValidationError as error:
        how = jail.ending or "ended without a report"
        last = "\n".join(jail.output.strip().splitlines()[-15:])
        raise WorkbenchError(f"compiling {op} {how}:\n{last}") from error


def compile_op(
    op: str, path: Sequence[str], targets: tuple[str, ...], dtypes: tuple[str, ...]
) -> StaticReport:
    """The report of the op found on `path`, in a jail: the targets side by side, each in a process
    of its own that is confined before it imports the op.
    """
    import torch
    import triton

    running = [_start(partial(_compile_for, op, path, dtypes, targets, t)) for t in targets]
    compiled = [_result(process, receiver) for process, receiver in running]
    return StaticReport(
        op=op,
        triton=triton.__version__,
        torch=torch.__version__,
        targets=targets,
        dtypes=dtypes,
        kernels=tuple(usage for one in compiled for usage in one.usages),
        floors=compiled[0].floors if compiled else (),  # the same whatever the target
        failures=tuple(failure for one in compiled for failure in one.failures),
    )


def _start(work: Callable[[], object]) -> tuple[BaseProcess, Connection]:
    """Fork a confined process that does the work; it, and where its result will come from."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def confined() -> None:
        guard.confine(fork=True)  # a compiler is a process
        sender.send(work())

    process = context.Process(target=confined)
    process.start()
    sender.close()
    return process, receiver


def _result(process: BaseProcess, receiver: Connection) -> Any:
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        # What it raised is printed already; this ends the jailed process.
        sys.exit(process.exitcode or 1)


class _Compiled(NamedTuple):
    usages: tuple[KernelUsage, ...]
    failures: tuple[str, ...]
    floors: tuple[Floor, ...]


def _compile_for(
    op: str, path: Sequence[str], dtypes: tuple[str, ...], targets: tuple[str, ...], target: str
) -> _Compiled:
    """What one target comes to; the op's variants, which take longest, are shared among them, and
    one of them tries the rows that no program can have two of.
    """
    import torch

    import workbench_kernels
    from workbench.bench import capture, cubin

    workbench_kernels.__path__[:] = path
    capture.warm_up(op)
    limits = architecture(target)
    chosen: list[torch.dtype] = [getattr(torch, dtype) for dtype in dtypes]
    variants = sorted(capture.load(op)[1].variants)[targets.index(target) :: len(targets)]
    others = _LONE_ROWS if target == targets[-1] else ()
    captured = capture.capture(op, limits, chosen, variants, others)
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
    failures = tuple(f"{target}: {failure}" for failure in captured.failures)
    return _Compiled(tuple(usages), failures, _floors(capture.load(op)[1], chosen))


def _floors(spec: OpSpec, dtypes: Sequence[torch.dtype]) -> tuple[Floor, ...]:
    return tuple(
        Floor(
            rows=rows,
            cols=cols,
            dtype=str(dtype).removeprefix("torch."),
            forward_bytes=spec.forward.bytes(rows * cols, dtype),
            backward_bytes=spec.backward.bytes(rows * cols, dtype),
        )
        for dtype in dtypes
        for rows, cols in spec.sweep
    )


def main(end: socket.socket, settings: dict[str, Any]) -> None:
    """Compile one op and send its report as JSON."""
    targets, dtypes = tuple(settings["targets"]), tuple(settings["dtypes"])
    report = compile_op(settings["op"], settings["path"], targets, dtypes)
    end.sendall(report.model_dump_json().encode())


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
