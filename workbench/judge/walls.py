"""The levels of the sandbox, and how a command is put behind each one's walls."""

from __future__ import annotations

import os
import shutil
import site
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workbench.judge import bytecode
from workbench.worker import guard

LANDLOCK = "landlock"

# Of the environment: where programs and drivers are, and what language to speak. Keys stay here.
_PASSED = (
    *("LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES"),
    *("NVIDIA_DRIVER_CAPABILITIES", "TRITON_PTXAS_PATH", "TRITON_LIBCUDA_PATH"),
)
_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime"),
    *("passwd", "group", "nsswitch.conf"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PROCESSORS = "/sys/devices/system"


class Level(StrEnum):
    """How strong the walls are, strongest first."""

    BUBBLEWRAP = "bubblewrap"
    LANDLOCK = "landlock"
    NAMESPACES = "namespaces"
    SECCOMP = "seccomp"

    @property
    def statement(self) -> str:
        """One sentence: what it stops and what it does not."""
        return _STATEMENTS[self]

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What a process in it can still do."""
        return _WEAKNESSES[self]

    @property
    def own_processes(self) -> bool:
        """Whether processes in it see none outside."""
        return self in (Level.BUBBLEWRAP, Level.NAMESPACES)


_STATEMENTS = {
    Level.BUBBLEWRAP: "It has no network, no process and no file but its own and the runtime's; "
    "it shares the kernel, the processors and the GPU.",
    Level.LANDLOCK: "It has no network and can open no file but its own and the runtime's, nor "
    "reach another process; it can learn which files exist.",
    Level.NAMESPACES: "It has no network and sees no process but its own; it reads and writes "
    "every file the user may.",
    Level.SECCOMP: "It has no network and can't trace or signal other processes; it reads and "
    "writes every file the user may, those in /proc among them.",
}
_GUESSES = "can learn whether a file exists, and its size and age"
_FILES = "reads and writes every file the user may, this repository's among them"
_WEAKNESSES = {
    Level.BUBBLEWRAP: (),
    Level.LANDLOCK: (_GUESSES,),
    Level.NAMESPACES: (_FILES,),
    Level.SECCOMP: (_FILES, "may read the environment and memory of the user's processes"),
}


class Sandbox(BaseModel):
    """The walls a record was made behind: the level, what is in force there, what isn't stopped."""

    model_config = ConfigDict(frozen=True)

    level: Level
    layers: tuple[str, ...] = ()
    weaknesses: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.level} ({', '.join(self.layers)})"


@dataclass(frozen=True)
class Walls:
    """What one jail is given. Paths are the same inside and outside, but for the scratch folder."""

    level: Level
    read: Sequence[Path]
    scratch: Path
    scratch_bytes: int
    gpu: bool

    def command(self, arguments_from: int) -> list[str]:
        """What to put before the command; Bubblewrap reads `arguments` from a descriptor."""
        if self.level is Level.BUBBLEWRAP:
            return ["bwrap", "--args", str(arguments_from)]
        if self.level is Level.NAMESPACES:
            own = "--user --map-root-user --net --pid --ipc --fork --kill-child --mount-proc"
            return ["setpriv", "--pdeathsig", "KILL", "unshare", *own.split()]
        return []

    def arguments(self) -> list[str]:
        """Bubblewrap's: a file system that has nothing but what is named here."""
        scratch = str(self.scratch)
        return [
            *("--unshare-all", "--die-with-parent", "--cap-drop", "ALL"),
            *("--proc", "/proc", "--dev", "/dev"),
            *("--perms", "0700", "--size", str(self.scratch_bytes), "--tmpfs", scratch),
            *(part for path in self.readable() for part in _shown(Path(path))),
            *(part for path in self._nodes() for part in ("--dev-bind-try", path, path)),
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", scratch),
        ]

    def readable(self) -> list[str]:
        """What the process may read and execute, whatever the level."""
        etc = [f"/etc/{name}" for name in _ETC]
        system = ["/usr", *_SYSTEM, *etc, "/sys" if self.gpu else _PROCESSORS]
        own = [*_python(), *_drivers(), Path(guard.__file__), *self.read]
        return _outermost([*system, *_both(own)])

    def writable(self) -> list[str]:
        """What the process may write, whatever the level."""
        devices = [f"/dev/{name}" for name in _DEVICES]
        return [str(self.scratch), *devices, *self._nodes()]

    def _nodes(self) -> list[str]:
        return [str(path) for path in sorted(Path("/dev").glob("nvidia*"))] if self.gpu else []


def environment(
    scratch: Path, python_path: Iterable[Path], extra: Mapping[str, str], *, gpu: bool
) -> dict[str, str]:
    """The whole environment of a jailed process: every cache is in the scratch folder."""
    kept = {n: v for n, v in os.environ.items() if n in _PASSED or n.startswith("LC_")}
    folders = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TRITON_HOME", "TORCHINDUCTOR_CACHE_DIR")
    caches = {"TRITON_CACHE_DIR": scratch / "triton", "CUDA_CACHE_PATH": scratch / "cuda"}
    compiled = bytecode.folder()
    return {
        "PATH": _PROGRAMS,
        **kept,
        **({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}),
        **_compiler(),
        **{name: str(scratch) for name in folders},
        **{name: str(folder) for name, folder in caches.items()},
        "PYTHONPATH": os.pathsep.join(str(path) for path in python_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        **({bytecode.VARIABLE: str(compiled)} if compiled else {}),
        "PYTHONHASHSEED": "0",
        "PYTHONUSERBASE": site.getuserbase(),  # else looked for below HOME
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # its pool of processes leaves the group
        # NumPy's product, which is `tl.dot` in the interpreter, starts no thread then.
        **dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"),
        **extra,
    }


def _python() -> list[Path]:
    packages = [Path(entry) for entry in sys.path if entry.endswith(("site-packages", "-packages"))]
    compiled = bytecode.folder()
    return [Path(sys.prefix), Path(sys.base_prefix), *packages, *([compiled] if compiled else [])]


def _drivers() -> list[Path]:
    """Libraries and compilers that the environment names, wherever they are installed."""
    named = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    named += [str(Path(compiler).resolve().parent.parent) for compiler in _compiler().values()]
    named += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    secret = (Path.home(), Path.cwd(), Path(os.environ.get("TMPDIR", "/tmp")))
    paths = [Path(name) for name in named if name.startswith("/")]
    return [p for p in paths if not any(s.is_relative_to(p.resolve()) for s in secret)]


def _compiler() -> dict[str, str]:
    """What Triton builds its launchers with."""
    found = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "gcc", "clang"))), None)
    return {"CC": found} if found else {}


def _outermost(paths: Sequence[str]) -> list[str]:
    """Those that are below no other: Bubblewrap can't put a folder in the place of a link."""
    unique = dict.fromkeys(paths)
    return [p for p in unique if not any(str(parent) in unique for parent in Path(p).parents)]


def _both(paths: Iterable[Path]) -> list[str]:
    """Each path as it is named and as it resolves: a virtual environment links to its Python."""
    return [str(name) for path in paths for name in (path, path.resolve())]


def _shown(path: Path) -> list[str]:
    if path.is_symlink() and str(path) in _SYSTEM:
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]
