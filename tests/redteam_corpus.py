"""The red team's corpus: small files of data, each an op changed in one way.

Cheats say which check must reject them and in what words; honest ones must pass. The format is
in tests/redteam/README.md.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from court import write_library

import workbench_kernels

HERE = Path(__file__).parent
LIBRARY = Path(str(workbench_kernels.__file__)).parent
PACKAGE = Path("kernels/workbench_kernels")


@dataclass(frozen=True)
class Entry:
    """One candidate of the corpus. The fields are the constants of its file, `why` its docstring.

    `edits` replace texts that occur once in a file of the op `base`, `files` give whole files. A
    file is named from the op's folder, from the root with a leading slash, or is the "test".
    `rejected_by` are the checks of which one must fail with words that match `says`; of `dynamic`
    one must fail whatever the source says.
    """

    name: str
    why: str
    base: str
    edits: Mapping[str, Sequence[tuple[str, str]]]
    files: Mapping[str, str]
    rejected_by: tuple[str, ...]
    says: str
    dynamic: tuple[str, ...]
    timeout: float | None
    needs_gpu: bool

    def texts(self) -> dict[Path, str]:
        """The files that differ from the library's, by their path below a repository's root."""
        texts = {self._path(file): text for file, text in _fixture(self.base).items()}
        for file, replacements in self.edits.items():
            path = self._path(file)
            text = texts[path] if path in texts else (LIBRARY / path.name).read_text()
            for old, new in replacements:
                if text.count(old) != 1:
                    raise ValueError(f"{self.name}: {file} has {old!r} {text.count(old)} times")
                text = text.replace(old, new)
            texts[path] = text
        return texts | {self._path(file): text for file, text in self.files.items()}

    def write(self, root: Path) -> None:
        """A repository with the library's own files and this op."""
        write_library(root)
        for path, text in self.texts().items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

    def _path(self, file: str) -> Path:
        if file == "test":
            return Path(f"tests/kernels/test_{self.base}.py")
        if file.startswith("/"):
            return Path(file[1:])
        if file.startswith("../"):
            return PACKAGE / file[3:]
        return PACKAGE / self.base / file


def load(kind: str) -> dict[str, Entry]:
    """The entries of "cheats" or "honest", by name."""
    paths = sorted((HERE / "redteam" / kind).glob("*.py"))
    return {path.stem: _entry(path) for path in paths}


def _entry(path: Path) -> Entry:
    data = runpy.run_path(str(path))
    return Entry(
        name=path.stem,
        why=data["__doc__"],
        base=data["BASE"],
        edits=data.get("EDITS", {}),
        files=data.get("FILES", {}),
        rejected_by=_names(data.get("REJECTED_BY", ())),
        says=data.get("SAYS", ""),
        dynamic=_names(data.get("DYNAMIC", ())),
        timeout=data.get("TIMEOUT"),
        needs_gpu=data.get("NEEDS_GPU", False),
    )


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _fixture(op: str) -> dict[str, str]:
    """The files of an honest op, by the names entries use."""
    return {
        "test" if path.stem == f"tests_of_{op}" else path.name: path.read_text()
        for path in (HERE / "fixtures" / op).glob("*.py")
    }
