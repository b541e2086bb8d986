"""The draft author: derives an op's kernels from its traced graphs, offline and the same way every
time.

What derives them is imported when it is needed: who is only asked whether it can begin needs no
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.authors import Assignment, Patching, Written
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.profile import Profile
    from workbench.reference import Reference


class DraftAuthor:
    """Writes tiers 1 and 2; refuses what it can't derive by naming the node."""

    name = "draft"

    def check(self, options: Mapping[str, Any], runs: Path) -> None:
        """Refuse what is for authors that ask a model.

        Raises:
            UsageError: there is something to limit.
        """
        if options:
            raise UsageError(
                "the draft author asks no model, so there is nothing to choose or limit",
                "leave --model, --effort and limits out, or take --author claude",
            )

    def write(self, assignment: Assignment) -> Written:
        """Write the op's four files.

        Raises:
            AuthorError: a node has no derivation here.
            TemplateError: a template is missing, broken, or uses a variable nobody gave.
        """
        files = self.render(assignment.profile, assignment.reference)
        for path, text in files.items():
            (assignment.root / path).parent.mkdir(parents=True, exist_ok=True)
            (assignment.root / path).write_text(text, encoding="utf-8")
        return Written(tuple(files))

    def patch(self, patching: Patching) -> Written:
        """Write the recipe: what the rules serve, with what was found to help them."""
        from workbench.autopatch.draft import draft

        return draft(patching)

    def render(self, profile: Profile, reference: Reference) -> dict[Path, str]:
        """The files as text, by path.

        Raises:
            AuthorError: a node has no derivation here.
        """
        from workbench.authors.derivation import derive

        return derive(profile, reference)
