"""What `workbench verify` found, as data: `--json` prints it, JUnit and the terminal render it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, computed_field

from workbench.judge.verdict import Check, Verdict
from workbench.verification import Kind


class OpResult(BaseModel):
    """The verdict on one op; `evidence` is the id of its record, None where none is kept."""

    model_config = ConfigDict(frozen=True)

    op: str
    verdict: Verdict
    evidence: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether the judge and every rule say so."""
        return self.verdict.passed


class Verification(BaseModel):
    """All that was judged. `base` and `head` are commits, None where nothing was compared.

    `deleted` ops and `other_files` are what a range changes and nobody judged here; `judging_files`
    are those of them that decide how ops are judged.
    """

    model_config = ConfigDict(frozen=True)

    target: str
    kind: Kind
    base: str | None = None
    head: str | None = None
    ops: tuple[OpResult, ...] = ()
    deleted: tuple[str, ...] = ()
    other_files: tuple[str, ...] = ()
    judging_files: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """No op failed; where there is nothing to judge, nothing failed."""
        return all(result.passed for result in self.ops)


def joined(verdict: Verdict, checks: Iterable[Check]) -> Verdict:
    """The verdict with more checks; of two with one name the worse stands, with both messages."""
    found = {check.name: check for check in verdict.checks}
    for check in checks:
        found[check.name] = _worse(found.get(check.name, check), check)
    return verdict.model_copy(update={"checks": tuple(found.values())})


def _worse(one: Check, other: Check) -> Check:
    ranks = ("passed", "skipped", "failed")
    first, second = sorted((one, other), key=lambda check: ranks.index(check.status), reverse=True)
    lines = dict.fromkeys([*first.message.splitlines(), *second.message.splitlines()])
    return one.model_copy(update={"status": first.status, "message": "\n".join(lines)})
