"""Authors: who writes an op's files. The engine decides whether they are right; an author only
writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from workbench.autopatch import Anatomy
from workbench.errors import UsageError
from workbench.limits import Limits
from workbench.runs import Cohort, Commission

if TYPE_CHECKING:
    from workbench.profile import Profile
    from workbench.reference import Reference

KEY = "ANTHROPIC_API_KEY"
REPLAY = "replay:"
MCP = "mcp"


def _silent(doing: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What an author is given: the op, the worktree `root` to write it in, the run's own folder,
    what was found wrong with each of its earlier attempts, how much it may spend, and which of how
    many authors it is, where several write the op side by side.

    It may `tell` what it does at the moment.
    """

    profile: Profile
    reference: Reference
    root: Path
    folder: Path
    findings: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    cohort: Cohort | None = None
    tell: Callable[[str], None] = _silent

    @property
    def run(self) -> str:
        """Id of the run it is for."""
        return self.folder.name

    @property
    def tier(self) -> int:
        """Whose limits are its author's."""
        return self.profile.tier


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A change that a person asks for, of an op of the library, which is in the worktree `root` as
    it is now; the rest is as in an `Assignment`.
    """

    op: str
    words: str
    tier: int
    root: Path
    folder: Path
    findings: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = _silent

    @property
    def run(self) -> str:
        """Id of the run it is for."""
        return self.folder.name


@dataclass(frozen=True, kw_only=True)
class Patching:
    """A recipe that is to be written in the worktree `root`, for a model of this anatomy; `leave`
    says which kinds of modules, by their class, a person wants left alone, and why. The rest is as
    in an `Assignment`.
    """

    anatomy: Anatomy
    leave: Mapping[tuple[str, str], str]
    root: Path
    folder: Path
    findings: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = _silent

    @property
    def run(self) -> str:
        """Id of the run it is for."""
        return self.folder.name

    @property
    def tier(self) -> int:
        """Whose limits are its author's: a recipe is no more work than the least of ops."""
        return 1

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration the models are of; empty for the type's own."""
        config: Mapping[str, Any] = self.options.get("config", {})
        return config


@dataclass(frozen=True)
class Written:
    """The files an author wrote, relative to the root, what it took, and whether it can go on when
    something is found wrong with them.
    """

    paths: tuple[Path, ...]
    facts: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    repairs: bool = False


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A reference that is to be written for an op: from what, in which run's folder, and how much
    may be spent on it, as for an op of that `tier`.
    """

    op: str
    commission: Commission
    tier: int
    origin: str
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = _silent

    @property
    def run(self) -> str:
        """Id of the run it is for."""
        return self.folder.name


@dataclass(frozen=True)
class Defined:
    """A reference's text, and what it took."""

    text: str
    facts: tuple[str, ...] = ()


class Definer(Protocol):
    """An author that can write a reference too."""

    def define(self, wanted: Wanted) -> Defined:
        """Write it.

        Raises:
            AuthorError: the author can't, or what it may spend is spent.
        """
        ...


class Reviser(Protocol):
    """An author that can change an op too."""

    def revise(self, revision: Revision) -> Written:
        """Change kernel.py and wrapper.py, and nothing else.

        Raises:
            AuthorError: the author can't, or what it may spend is spent.
        """
        ...


class Patcher(Protocol):
    """An author that can write a recipe too."""

    def patch(self, patching: Patching) -> Written:
        """Write the recipe, and nothing else.

        Raises:
            AuthorError: the author can't, or what it may spend is spent.
        """
        ...


class Sampler(Protocol):
    """An author that writes an op otherwise each time it is asked."""

    def bounds(self, tier: int, options: Mapping[str, Any]) -> Limits:
        """What one run of it may spend on an op of that tier, with these options."""
        ...


class Author(Protocol):
    """Writes the four files of an op below a root, and nothing else."""

    name: str

    def check(self, options: Mapping[str, Any], runs: Path) -> None:
        """Refuse to begin what it can't do: with these options, where the runs are kept there.

        Raises:
            UsageError: why, and what to do.
        """
        ...

    def write(self, assignment: Assignment) -> Written:
        """Write spec.py, kernel.py, wrapper.py and the test.

        Raises:
            AuthorError: the author can't write this op, or what it may spend is spent.
        """
        ...


def default() -> str:
    """The author of who names none: Claude where there is a key, else the one that needs none."""
    return "claude" if os.environ.get(KEY) else "draft"


def get(name: str) -> Author:
    """The author of that name.

    Raises:
        UsageError: there is none.
    """
    if name == "draft":
        from workbench.authors.draft import DraftAuthor

        return DraftAuthor()
    if name == "claude" or name.removeprefix(REPLAY) not in ("", name):
        from workbench.agent import author

        replayed = name.removeprefix(REPLAY)
        return author.ClaudeAuthor() if name == "claude" else author.ReplayAuthor(replayed)
    if name == MCP:
        from workbench.mcp.author import McpAuthor

        return McpAuthor()
    raise UsageError(
        f"there is no author {name!r}", f"the authors are draft, claude, {MCP}, {REPLAY}RUN"
    )


def definer(name: str) -> Definer:
    """The author of that name, who can write a reference.

    Raises:
        UsageError: there is none, or it can't.
    """
    what = f"the author {name!r} asks no model, and can't write a reference"
    hint = f"--author claude with {KEY} set, or write it: --reference FILE.py:FUNC"
    return cast(Definer, _able(name, "define", what, hint))


def reviser(name: str) -> Reviser:
    """The author of that name, who can change an op.

    Raises:
        UsageError: there is none, or it can't.
    """
    what = f"the author {name!r} asks no model, and can't change an op"
    hint = f"--author claude with {KEY} set; to make it faster: workbench tune"
    return cast(Reviser, _able(name, "revise", what, hint))


def patcher(name: str) -> Patcher:
    """The author of that name, who can write a recipe.

    Raises:
        UsageError: there is none, or it can't.
    """
    what = f"the author {name!r} can't write a recipe"
    return cast(Patcher, _able(name, "patch", what, "--author draft, which needs no model"))


def sampler(name: str) -> Sampler:
    """The author of that name, of whom several attempts are worth more than one.

    Raises:
        UsageError: there is none, or they are not.
    """
    why = "writes the same files each time"
    if name == MCP:
        why = "is one agent of yours, which is at one run at a time"
    what = f"several attempts are no use: the author {name!r} {why}"
    hint = f"leave --attempts out, or take --author claude with {KEY} set"
    return cast(Sampler, _able(name, "bounds", what, hint))


def _able(name: str, method: str, what: str, hint: str) -> Author:
    """The author of that name, if it has this method.

    Raises:
        UsageError: there is none; or it has not, which is `what`.
    """
    author = get(name)
    if not callable(getattr(author, method, None)):
        raise UsageError(what, hint)
    return author
