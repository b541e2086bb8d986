"""How a type of transformers' models is patched: what is in it, the recipe of it, and the proof.

The model's code is transformers', which is trusted, and so is the library's; a recipe is not. What
is looked at, trained and counted runs in a sandbox; what that comes to is judged outside of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

# The dtypes that trainings are compared in.
DTYPES = ("float32", "bfloat16")
# What is wrong with a kernel that a training must not pass with.
OFF, LOST = PLANTS = ("off by 1 %", "without its last row")


class Part(BaseModel):
    """Modules of one class and kind that fare alike. `paths` have * for numbers. Where a kernel
    serves them, `mode` says how it computes, `ratio` how far from the truth it is, over PyTorch's
    error, and `same` which share of its results in 16 bits has the same bits; else `reason` says
    why none does. `hint` is what a recipe has to say for it to be served, in the recipe's words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    count: int
    paths: tuple[str, ...]
    kernel: str = ""
    mode: str = ""
    ratio: float = 0.0
    same: float | None = None
    reason: str = ""
    hint: Mapping[str, str | float] = {}

    @property
    def short(self) -> str:
        """The class's own name."""
        return self.name.rpartition(".")[2]

    def row(self) -> dict[str, Any]:
        """It in a table."""
        return {
            "class": self.short,
            "kind": self.kind,
            "modules": self.count,
            "kernel": self.kernel or "none",
            "error": f"{self.ratio:.2f}x PyTorch's" if self.kernel else "",
            "same bits": "" if self.same is None else f"{self.same:.1%}",
            "how, or why not": self.mode or self.reason,
        }


class Unseen(BaseModel):
    """Modules that no rule finds, though they look like what one is for, and what they look like;
    `eps` are the small numbers in their code, `parameters` the names of their own. No hint helps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    count: int
    looks: str
    eps: tuple[float, ...] = ()
    parameters: tuple[str, ...] = ()


class Anatomy(BaseModel):
    """What is in a model: `decisions` are what one has to know to patch it, each found in its
    structure or seen in its numbers; `sources` are the hashes of the code of its classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    model: str
    versions: Mapping[str, str]
    decisions: Mapping[str, str]
    parts: tuple[Part, ...]
    unseen: tuple[Unseen, ...]
    sources: Mapping[str, str]

    @property
    def served(self) -> tuple[Part, ...]:
        """What kernels serve."""
        return tuple(part for part in self.parts if part.kernel)

    @property
    def left(self) -> tuple[Part, ...]:
        """What is left alone."""
        return tuple(part for part in self.parts if not part.kernel)

    @property
    def counts(self) -> tuple[int, int]:
        """How many modules are served, of how many."""
        served = sum(part.count for part in self.served)
        return served, served + sum(part.count for part in self.left)

    def changes(self, now: Anatomy) -> list[str]:
        """Which classes are not what they were, one phrase each."""
        before, after = self.sources, now.sources
        changed = [f"{n} was changed" for n in before if n in after and before[n] != after[n]]
        new = [f"{name} is new" for name in after if name not in before]
        gone = [f"{name} is gone" for name in before if name not in after]
        return [*changed, *new, *gone]
