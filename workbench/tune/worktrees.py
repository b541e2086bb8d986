"""Where a run's variants are: each idea that is worked on as a whole has a worktree of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.judge.stage import CANDIDATE
from workbench.layout import op_paths
from workbench.repository import Repository
from workbench.tune.wave import Idea

_BASE = "base"


@dataclass(frozen=True)
class Variants:
    """Of one run, which began at the commit `base`."""

    repository: Repository
    run: str
    base: str
    op: str

    def root(self, idea: Idea) -> Path:
        """The idea's worktree, made if it is not there."""
        root = self.repository.ensure_variant(self.run, idea.digest[:12], self.base)
        write(root, self.op, idea)
        return root

    def start(self) -> Path:
        """The library as it was when the run began."""
        return self.repository.ensure_variant(self.run, _BASE, self.base)

    def as_it_is(self) -> Idea:
        """The op as it was then."""
        folder = self.start() / op_paths(self.op)[0]
        sources = {name: (folder / name).read_text(encoding="utf-8") for name in CANDIDATE}
        return Idea(
            name="as it is", hypothesis="what the library has", expected=0.0, sources=sources
        )

    def spec(self) -> str:
        """What the op is judged by."""
        return (self.start() / op_paths(self.op)[0] / "spec.py").read_text(encoding="utf-8")

    def remove(self) -> None:
        """Remove all of them."""
        self.repository.remove_variants(self.run)


def write(root: Path, op: str, idea: Idea) -> list[str]:
    """Put an idea's files where they differ; which."""
    written = []
    for name, text in idea.sources.items():
        path = root / op_paths(op)[0] / name
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(f"{op_paths(op)[0]}/{name}")
    return written
