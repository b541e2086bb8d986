"""A child process that may do anything: its own process group, a time limit, no secrets.

This stops a child that hangs, crashes, floods the terminal or leaves processes behind. It does not
stop one that reads or writes files, uses the network, or takes memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import workbench

# What a child needs of the environment; anything else, keys and tokens above all, stays here.
_PASSED = ("PATH", "HOME", "USER", "TMPDIR", "LANG", "TERM", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CC")
_PASSED_PREFIXES = ("LC_", "CUDA", "NVIDIA_", "TRITON_", "XDG_CACHE")
_NOT_PASSED = ("TRITON_INTERPRET",)
_PR_SET_PDEATHSIG = 1


class Child:
    """`python -m MODULE ARGUMENTS` with the kernel library of `root` first on its path.

    Leaving the context kills the process and everything it started.
    """

    def __init__(self, module: str, arguments: Sequence[str], *, root: Path, log: Path) -> None:
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._root, self._log = root, log

    def __enter__(self) -> Child:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=environment(self._root),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def wait(self, deadline: float) -> int | None:
        """The exit code, minus the signal that ended it, or None: still running at the deadline."""
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End the process and its group, whatever state they are in."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        lines = self._log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def environment(root: Path) -> dict[str, str]:
    """The environment of a child that works on the kernel library below `root`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    engine = Path(workbench.__file__).resolve().parent.parent
    own: Mapping[str, str] = {
        "PYTHONPATH": os.pathsep.join([str(root.resolve() / "kernels"), str(engine)]),
        "PYTHONDONTWRITEBYTECODE": "1",  # leave the worktree as it is
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",  # two children share the machine
    }
    return {n: v for n, v in kept.items() if n not in _NOT_PASSED} | dict(own)


def die_with_parent() -> None:
    """In a child: end when the process that started it ends, so that nothing is orphaned."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def choose_device() -> tuple[str, bool]:
    """In a child, before it imports a kernel: the GPU, or the interpreter where there is none.

    Returns what to call the device, and whether it is the interpreter.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(), False
    os.environ["TRITON_INTERPRET"] = "1"
    from workbench.interpreter import enable

    enable()
    return "cpu interpreter, no GPU involved", True
