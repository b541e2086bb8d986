"""The playbook: what is known of kernels on an architecture, each fact with a probe that shows it.

`prompts/playbook/facts.toml` says the facts, `prompts/playbook/probes/ID.py` shows one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.assets import asset, read_toml
from workbench.errors import TemplateError, UsageError

# Of the architecture that facts are told of where no GPU is.
WITHOUT_GPU = "sm_90"
# Of all facts together, as an author is told them.
MOST_CHARACTERS = 6_000


class Fact(BaseModel):
    """One fact, of these architectures (of any, if none is named). `needs` is what shows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    statement: str = Field(min_length=1, max_length=600)
    architectures: tuple[str, ...] = ()
    needs: Literal["compiler", "host", "gpu"] = "compiler"
    probe: Path

    def is_of(self, architecture: str) -> bool:
        """Whether it says something of that architecture."""
        return not self.architectures or architecture in self.architectures


def facts(folder: Path | None = None) -> list[Fact]:
    """All facts, in the file's order.

    Raises:
        TemplateError: the file can't be read, a fact is not as it should be, or has no probe.
    """
    folder = folder or asset("prompts") / "playbook"
    file = folder / "facts.toml"
    found = []
    for id_, table in read_toml(file).items():
        probe = folder / "probes" / f"{id_}.py"
        if not probe.is_file():
            raise TemplateError(f"{file}: {id_} has no probe", f"it is to be in {probe}")
        try:
            found.append(Fact.model_validate({"id": id_, "probe": probe, **table}))
        except (ValidationError, TypeError) as error:
            raise TemplateError(f"{file}: {id_} is no fact: {error}") from error
    return found


def chosen(known: Sequence[Fact], ids: Sequence[str]) -> list[Fact]:
    """The facts of these ids; all, if none is named.

    Raises:
        UsageError: there is no such fact.
    """
    by_id = {fact.id: fact for fact in known}
    if unknown := [id_ for id_ in ids if id_ not in by_id]:
        raise UsageError(f"the playbook has no fact {', '.join(unknown)}", "workbench playbook")
    return [by_id[id_] for id_ in ids] if ids else list(known)


def at_hand() -> str:
    """The architecture of this machine's GPU, or the one that is spoken of where there is none."""
    import torch

    if not torch.cuda.is_available():
        return WITHOUT_GPU
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


def told(architecture: str, known: Sequence[Fact] | None = None) -> list[str]:
    """What an author of a kernel for that architecture is told, as much of it as has room."""
    lines: list[str] = []
    for fact in facts() if known is None else known:
        if fact.is_of(architecture) and sum(map(len, [*lines, fact.statement])) <= MOST_CHARACTERS:
            lines.append(fact.statement)
    return lines
