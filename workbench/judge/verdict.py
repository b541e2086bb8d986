"""What the judge found, as data: one `Check` per property, one `Verdict` per op."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, computed_field

from workbench.text import printable_lines

OWN_TESTS = "own tests"
MUTATION = "mutation score"
Fate = Literal["killed", "survived", "harmless"]


class Check(BaseModel):
    """One property of the op. `cases` are the calls it took to find out.

    `forward_error` and `backward_error` are the worst errors met, over eager's and 2 ulps (in 16
    bits half a one, see `workbench_kernels.bound`); None where no value was compared.
    `message` says what is wrong, or why the check was skipped.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    status: Literal["passed", "failed", "skipped"]
    cases: int = 0
    forward_error: float | None = None
    backward_error: float | None = None
    message: Annotated[str, AfterValidator(printable_lines)] = ""
    seconds: float = 0.0


class MutantResult(BaseModel):
    """What became of a mutant: `killed` by the op's tests (`by` says how), `survived` though it is
    wrong (`by` says how), or `harmless`: the judge can't tell it from a right op either.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    fate: Fate
    by: str = ""


class Verdict(BaseModel):
    """Whether an op is right, and all that says so.

    `files` maps the op's paths to SHA-256 digests, `library` those of the shared files it was
    judged with; `sandbox` says what kept the candidate in.
    """

    model_config = ConfigDict(frozen=True)

    op: str
    seed: int
    device: str = "unknown"
    interpreted: bool = False
    partial: bool = False
    versions: dict[str, str] = {}
    dtypes: tuple[str, ...] = ()
    sandbox: str = ""
    files: dict[str, str] = {}
    library: dict[str, str] = {}
    mutants: tuple[MutantResult, ...] = ()
    checks: tuple[Check, ...] = ()
    seconds: float = 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Every check was made, none failed, and some passed."""
        some = any(check.status == "passed" for check in self.checks)
        return some and not self.failures and not self.partial

    @property
    def failures(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.status == "failed"]

    @property
    def skipped(self) -> list[Check]:
        """The checks that could not be made here."""
        return [check for check in self.checks if check.status == "skipped"]

    @property
    def cases(self) -> int:
        """Calls of the op by the judge; the op's own tests are not among them."""
        return sum(check.cases for check in self.checks if check.name != OWN_TESTS)

    @property
    def errors(self) -> dict[str, float]:
        """The worst error relative to eager's of each direction in which values were compared."""
        found = {
            "forward": [c.forward_error for c in self.checks if c.forward_error is not None],
            "backward": [c.backward_error for c in self.checks if c.backward_error is not None],
        }
        return {direction: max(errors) for direction, errors in found.items() if errors}

    def summary(self) -> list[str]:
        """The facts for one line of a report, each counted from the checks."""
        facts = [f"{self.cases} cases", " ".join(self.dtypes), " and ".join(self.errors)]
        if self.errors:
            worst = max(self.errors.values())
            rounded = math.ceil(100 * worst) / 100 if math.isfinite(worst) else worst
            facts.append(f"error <= {rounded:g}x (eager's + 2 ulp)")
        facts += [f"{check.cases} own tests" for check in self.checks if check.name == OWN_TESTS]
        if self.mutants:
            fates = [mutant.fate for mutant in self.mutants if mutant.fate != "harmless"]
            facts.append(f"{fates.count('killed')} of {len(fates)} mutants noticed")
        facts.append(f"{len(self.failures)} of {len(self.checks)} checks failed")
        if self.interpreted:
            facts.append("interpreter: no GPU involved")
        return [fact for fact in facts if fact]
