"""Authors: who writes an op's files. The engine decides whether they are right; an author only
writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from workbench.errors import UsageError
from workbench.profile import Profile
from workbench.reference import Reference


class Author(Protocol):
    """Writes the four files of an op below a root, and nothing else."""

    name: str

    def write(self, profile: Profile, reference: Reference, root: Path) -> list[Path]:
        """Write spec.py, kernel.py, wrapper.py and the test; return their paths relative to `root`.

        Raises:
            AuthorError: the author can't write this op.
        """
        ...


def get(name: str) -> Author:
    """The author of that name.

    Raises:
        UsageError: there is none.
    """
    from workbench.authors.draft import DraftAuthor

    authors: dict[str, type[Author]] = {"draft": DraftAuthor}
    if name not in authors:
        raise UsageError(
            f"there is no author {name!r}", hint=f"the authors are {', '.join(authors)}"
        )
    return authors[name]()
