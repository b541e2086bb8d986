"""What an agent may look at and what it may write: files of one worktree, and nothing outside it.

A path is confined after its links are resolved, so no link leads out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.layout import op_paths
from workbench.repository import CACHE

# Of what is returned at once.
MOST_LINES, MOST_CHARACTERS, MOST_ENTRIES, MOST_MATCHES = 600, 40_000, 300, 80
LONGEST_LINE = 300
# Of what is read or written at all.
MOST_BYTES = 200_000
_HIDDEN = frozenset({".git", ".workbench", CACHE})


class ToolError(Exception):
    """What the agent asked for can't be done; it is told why."""


@dataclass(frozen=True)
class Files:
    """The files below `root`, of which the author of `op` writes three."""

    root: Path
    op: str

    @property
    def written(self) -> dict[str, Path]:
        """Where the author's own files are, by what they are called."""
        folder, test = (self.root / path for path in op_paths(self.op))
        return {
            "kernel.py": folder / "kernel.py",
            "wrapper.py": folder / "wrapper.py",
            "test": test,
        }

    def list(self, path: str) -> str:
        """The entries of a folder, folders with a slash."""
        folder = self._inside(path)
        if not folder.is_dir():
            raise ToolError(f"{path} is no folder")
        entries = [
            f"{entry.name}/" if entry.is_dir() else entry.name
            for entry in sorted(folder.iterdir())
            if entry.name not in _HIDDEN
        ]
        return _bounded(entries, MOST_ENTRIES, "entries") or "(empty)"

    def read(self, path: str, first: int = 1, count: int = MOST_LINES) -> str:
        """Lines of a text file, each with its number."""
        lines = self._text(self._inside(path), path).splitlines()
        if not 1 <= first <= max(len(lines), 1):
            raise ToolError(f"{path} has {len(lines)} lines, and no line {first}")
        chosen = lines[first - 1 : first - 1 + max(1, min(count, MOST_LINES))]
        numbered = [f"{number:>5}  {line}" for number, line in enumerate(chosen, first)]
        last = first - 1 + len(chosen)
        rest = f"\n... {len(lines) - last} more lines from line {last + 1}"
        return _cut("\n".join(numbered)) + rest * (last < len(lines))

    def search(self, text: str, path: str) -> str:
        """Every line with this text in it, with its file and number."""
        if not text.strip():
            raise ToolError("there is nothing to search for")
        found: list[str] = []
        for file in self._python(self._inside(path)):
            for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
                if text in line:
                    place = f"{file.relative_to(self.root.resolve()).as_posix()}:{number}"
                    found.append(f"{place}: {line.strip()[:LONGEST_LINE]}")
                if len(found) > MOST_MATCHES:
                    return _bounded(found, MOST_MATCHES, "lines or more")
        return "\n".join(found) or "(no line has it)"

    def write(self, file: str, text: str) -> str:
        """Make one of the author's files anew."""
        path = self._own(file)
        if len(text.encode()) > MOST_BYTES:
            raise ToolError(f"a file may have {MOST_BYTES} bytes")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return f"{file} has {len(text.splitlines())} lines now"

    def edit(self, file: str, old: str, new: str) -> str:
        """Replace a text that occurs once in one of the author's files."""
        text = self._text(self._own(file), file)
        times = text.count(old) if old else 0
        if times != 1:
            raise ToolError(f"{file} has the old text {times} times: name one that it has once")
        return self.write(file, text.replace(old, new))

    def _own(self, file: str) -> Path:
        path = self.written[file]
        if not path.resolve().is_relative_to(self.root.resolve()) or path.is_symlink():
            raise ToolError(f"{file} is not where it should be")
        return path

    def _inside(self, path: str) -> Path:
        """A path of the worktree's, without links."""
        root = self.root.resolve()
        try:
            found = (root / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise ToolError(f"{path!r} is no path: {error}") from error
        if not found.is_relative_to(root) or _HIDDEN & set(found.relative_to(root).parts):
            raise ToolError(f"{path!r} is outside the repository")
        return found

    def _text(self, path: Path, name: str) -> str:
        if not path.is_file():
            raise ToolError(f"there is no file {name}")
        if path.stat().st_size > MOST_BYTES:
            raise ToolError(f"{name} has more than {MOST_BYTES} bytes")
        data = path.read_bytes()
        if b"\0" in data:
            raise ToolError(f"{name} is not text")
        return data.decode("utf-8", "replace")

    def _python(self, below: Path) -> Iterator[Path]:
        """The Python files at or below a path, those behind links left out."""
        found = [below] if below.is_file() else sorted(below.rglob("*.py"))
        for file in found:
            hidden = _HIDDEN & set(file.relative_to(self.root.resolve()).parts)
            if not hidden and file.resolve() == file and file.is_file():
                yield file


def _bounded(lines: list[str], most: int, what: str) -> str:
    more = [f"... and {len(lines) - most} more {what}"] if len(lines) > most else []
    return _cut("\n".join([*lines[:most], *more]))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "\n... (cut)"
