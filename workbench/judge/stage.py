"""What each process gets to see: a copy of just those files, in a folder of the judge's own.

The repository itself is never shown. What ops are judged by (`TRUSTED`) is always the workbench's
own copy, whatever the repository under judgement says.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import workbench
from workbench import layout

LIBRARY = Path(layout.LIBRARY)
TRUSTED = ("__init__.py", "spec.py", "truth.py", "bound.py", "testing.py")
# The parts of the workbench that run outside the judge.
_ENGINE = (
    *("__init__.py", "channel.py", "text.py", "errors.py"),
    *("worker", "interpreter", "referee", "bench"),
)
CANDIDATE = ("kernel.py", "wrapper.py")
ORIGINAL = "original"  # the variant that is none


def op_files(op: str) -> list[Path]:
    """The files an op consists of, relative to the repository's root."""
    folder, test = map(Path, layout.op_paths(op))
    return [*(folder / name for name in ("spec.py", *CANDIDATE)), test]


def digests(root: Path, op: str) -> dict[str, str]:
    """SHA-256 of each of the op's files that exist, by path."""
    return {path.as_posix(): _digest(root / path) for path in op_files(op) if _plain(root / path)}


def library_digests(root: Path) -> dict[str, str]:
    """SHA-256 of the library's shared files as an op is judged with them, by path."""
    return {(LIBRARY / path.name).as_posix(): _digest(path) for path in _library(root)}


@dataclass(frozen=True)
class Stage:
    """The copies, below `folder`: `engine` and `library` for everyone, the rest for one process.

    `op` holds what the worker imports, `suite` what the tests do, `spec` what the referee does.
    """

    folder: Path
    name: str
    salt: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def engine(self) -> Path:
        """What runs outside the judge; first on every process's path."""
        return self.folder / "engine"

    @property
    def library(self) -> Path:
        """The library's shared files and the other ops."""
        return self.folder / "library"

    @property
    def trusted(self) -> Path:
        """The library's files that ops are judged by, alone."""
        return self.folder / "trusted"

    @property
    def package(self) -> Path:
        """The library's package."""
        return self.library / LIBRARY.name

    @property
    def spec(self) -> Path:
        """Holds the op's folder with its spec alone."""
        return self.folder / "spec"

    @property
    def op(self) -> Path:
        """Holds the op's folder with its kernel and wrapper."""
        return self.folder / "op"

    @property
    def suite(self) -> Path:
        """Holds the op's folder, complete, and its test."""
        return self.folder / "suite"

    @property
    def variants(self) -> Path:
        """Holds the mutants: for each what `op` and `suite` hold."""
        return self.folder / "variants"

    @property
    def test(self) -> Path:
        """The op's test."""
        return self.suite / f"test_{self.name}.py"

    def path(self, folder: Path) -> list[str]:
        """Where a process finds the op that lies in `folder`, and the library."""
        return [str(folder), str(self.package)]

    def variant(self, name: str) -> Path:
        """Where a variant lies: the path, which its tests can see, tells nobody which one it is."""
        return self.variants / hashlib.sha256(f"{self.salt} {name}".encode()).hexdigest()[:16]

    def add_variant(self, name: str, sources: Mapping[str, str]) -> Path:
        """The op with other sources: a folder that can stand for `op` and for `suite`."""
        folder = self.variant(name) / self.name
        shutil.copytree(self.suite / self.name, folder)
        for file, source in sources.items():
            (folder / file).write_text(source, encoding="utf-8")
        return folder.parent


def prepare(root: Path, op: str, folder: Path) -> Stage:
    """Copy what the processes need; files that are missing stay missing, for the import to say so.

    Symbolic links are left out: they could lead anywhere.
    """
    stage = Stage(folder, op)
    engine = Path(workbench.__file__).parent
    for name in _ENGINE:
        source, target = engine / name, stage.engine / "workbench" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    trusted = stage.trusted / LIBRARY.name
    for package in (stage.package, trusted):
        package.mkdir(parents=True)
    for path in _library(root):
        shutil.copy(path, stage.package)
        if path.name in TRUSTED:
            shutil.copy(path, trusted)
    for other in sorted((root / LIBRARY).glob("*/kernel.py")):
        if other.parent.name != op:
            _copy(other.parent, stage.package / other.parent.name, ("spec.py", *CANDIDATE))
    own = root / LIBRARY / op
    _copy(own, stage.spec / op, ("spec.py",))
    _copy(own, stage.op / op, CANDIDATE)
    _copy(own, stage.suite / op, ("spec.py", *CANDIDATE))
    _copy(root / "tests" / "kernels", stage.suite, (stage.test.name,))
    stage.variants.mkdir()
    stage.add_variant(ORIGINAL, {})
    return stage


def _library(root: Path) -> list[Path]:
    """The shared files: the judge's where it must be them, else the repository's."""
    import workbench_kernels

    own = Path(str(workbench_kernels.__file__)).parent
    theirs = [p for p in sorted((root / LIBRARY).glob("*.py")) if p.name not in TRUSTED]
    return [*(own / name for name in TRUSTED), *filter(_plain, theirs)]


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if _plain(source / name):
            shutil.copy(source / name, target)


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
