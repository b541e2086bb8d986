"""What a compiled kernel uses, read from its machine code with the tools in Triton's wheel."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from triton.backends import nvidia

_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", re.M)
# LDGSTS is cp.async: a load from global to shared memory that passes no register.
_LOADS = ("LDG", "LDGSTS")
_STORES = ("STG",)
_WIDE = {"128", "256"}  # bits, as they end an instruction's name


@dataclass(frozen=True)
class Usage:
    """What a thread holds, what it spills to local memory, and the instructions it runs.

    `loads` and `stores` are the instructions on global memory; the wide ones move 16 bytes or more.
    These and `instructions` are None where the disassembler does not know the architecture.
    """

    registers: int
    spill_bytes: int
    instructions: int | None = None
    loads: int | None = None
    wide_loads: int | None = None
    stores: int | None = None
    wide_stores: int | None = None


def read(cubin: bytes) -> Usage:
    """What the kernel in `cubin` uses.

    Raises:
        RuntimeError: cuobjdump can't read it.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        resources = _run("cuobjdump", "-res-usage", file.name)
        assembly = _run("nvdisasm", "-c", file.name)
    found = dict(re.findall(r"(REG|STACK):(\d+)", resources))
    if not found:
        raise RuntimeError("cuobjdump can't read the compiled kernel")
    # Triton puts nothing on the stack but what it spills.
    registers, spill_bytes = int(found["REG"]), int(found["STACK"])
    names = [name.split(".") for name in _INSTRUCTION.findall(assembly)]
    if not names:
        return Usage(registers, spill_bytes)
    loads = [name for name in names if name[0] in _LOADS]
    stores = [name for name in names if name[0] in _STORES]
    return Usage(
        registers,
        spill_bytes,
        instructions=sum(name[0] != "NOP" for name in names),
        loads=len(loads),
        wide_loads=sum(not _WIDE.isdisjoint(name) for name in loads),
        stores=len(stores),
        wide_stores=sum(not _WIDE.isdisjoint(name) for name in stores),
    )


def _run(tool: str, *arguments: str) -> str:
    """What a tool of the wheel prints; nothing if it fails."""
    path = Path(next(iter(nvidia.__path__))) / "bin" / tool
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""
