"""What a record says of where it was made: this machine, these versions, this workbench."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import workbench
from workbench.evidence import Machine


def this_machine(sandbox: str = "") -> Machine:
    """The machine, its GPUs as the driver names them."""
    gpus, driver = _gpus()
    return Machine(
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        gpus=gpus,
        driver=driver,
        sandbox=sandbox,
    )


@cache
def this_workbench() -> dict[str, str]:
    """The engine's version and, in a checkout, its commit; "-dirty" if files differ from that."""
    known = {"version": workbench.__version__}
    root = Path(workbench.__file__).resolve().parents[1]
    if not (root / ".git").exists():  # installed: a repository further up is someone else's
        return known
    asked = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    commit = output("git", "--no-optional-locks", "-C", str(root), *asked)
    return known | {"commit": commit} if commit else known


def versions(given: dict[str, str]) -> dict[str, str]:
    """The versions given, with Python's and those of the packages behind every number."""
    found = {"python": platform.python_version()}
    for name in ("torch", "triton"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found | given


def _cpu() -> str:
    """The processor's name; ARM's kernels know none."""
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


@cache
def _gpus() -> tuple[tuple[str, ...], str]:
    """The names of the GPUs, and the driver's version."""
    listed = output("nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader")
    rows = [line.partition(", ") for line in listed.splitlines() if ", " in line]
    return tuple(name for _, _, name in rows), rows[0][0] if rows else ""


def output(*command: str) -> str:
    """What a command prints; nothing where it is missing, fails or hangs."""
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""
