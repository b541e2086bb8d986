"""What became of each module of a patched model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workbench_kernels.patching.rule import Verdict

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@dataclass(frozen=True)
class Entry:
    """A module that a rule found: `path` in the model, `kind`, the name of its class, the verdict.

    `str` of it is a line: what serves the module and how exactly, or why nothing does.
    """

    path: str
    kind: str
    module: str
    verdict: Verdict

    def __str__(self) -> str:
        return f"{self.path} ({self.module}): {_said(self.verdict)}"


@dataclass(frozen=True)
class Report:
    """Every module that could be served. Printed, modules alike are one line."""

    model: str
    entries: tuple[Entry, ...]

    @property
    def served(self) -> tuple[Entry, ...]:
        """What a kernel computes now."""
        return tuple(entry for entry in self.entries if entry.verdict.served)

    @property
    def left(self) -> tuple[Entry, ...]:
        """What was left as it is, with the reason."""
        return tuple(entry for entry in self.entries if not entry.verdict.served)

    def of(self, kind: str) -> tuple[Entry, ...]:
        """The entries of one kind."""
        return tuple(entry for entry in self.entries if entry.kind == kind)

    def __str__(self) -> str:
        head = f"{self.model}: {len(self.served)} of {len(self.entries)} modules are served"
        return "\n".join([head, *(f"  {line}" for line in _lines(self.entries))])


def alike_paths(paths: Iterable[str]) -> list[str]:
    """Paths of modules with * for numbers, each once."""
    return list(dict.fromkeys(_NUMBER.sub("*", path) for path in paths))


def _lines(entries: Iterable[Entry]) -> Iterator[str]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        key = (entry.kind, entry.module, _said(entry.verdict))
        groups.setdefault(key, []).append(entry.path)
    for (kind, module, said), paths in groups.items():
        alike = alike_paths(paths)
        shown = ", ".join(alike[:3]) + (f" and {len(alike) - 3} more" if len(alike) > 3 else "")
        yield f"{kind:9s} {len(paths):4d} x {module} · {said} · {shown or 'the model'}"


def _said(verdict: Verdict) -> str:
    if not verdict.served:
        return f"left alone: {verdict.reason}"
    mode = f" ({verdict.mode})" if verdict.mode else ""
    exact = "" if verdict.same is None else f", {verdict.same:.1%} the same bits"
    return f"{verdict.kernel}{mode}, error {verdict.ratio:.2g}x PyTorch's{exact}"
