"""The op's own tests: whether they pass, and whether they would notice if the op were wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from workbench.judge import suite
from workbench.judge.mutants import Mutant, mutants, neutral
from workbench.judge.place import Place, cores
from workbench.judge.stage import CANDIDATE, ORIGINAL, Stage
from workbench.judge.suite import SuiteResult
from workbench.judge.verdict import MUTATION, OWN_TESTS, Check, MutantResult

# A suite must notice so many of the mutants that are wrong.
LEAST_SCORE = 0.9
MOST_MUTANTS = 16
# A mutant's suite that takes this much longer than the op's own hangs.
_SLOWER, _LEAST_SECONDS = 3.0, 20.0
_NEUTRAL = "neutral"


class Suites:
    """Runs the suite on the op, on the same program written otherwise, and on its mutants, beside
    whatever the caller does meanwhile.

    The op's own run is on `device`. What the suite notices is the same wherever it runs, and found
    in the interpreter, which takes the GPU from nobody; on the device only if the suite does not
    pass there. `is_wrong` says what the judge finds wrong with the op in a folder, "" if nothing.
    """

    def __init__(
        self,
        stage: Stage,
        deadline: float,
        device: Place,
        interpreter: Place,
        is_wrong: Callable[[Place, Path], str],
    ) -> None:
        self._stage, self._deadline, self._is_wrong = stage, deadline, is_wrong
        self._device, self._interpreter = device, interpreter
        self._pool = ThreadPoolExecutor(1 + _at_once())
        self._all = self._pool.submit(self._run_all)
        self.own, self.neutral = SuiteResult(ended="not run"), SuiteResult(ended="not run")
        self.mutants: list[MutantResult] = []

    def join(self) -> None:
        """Wait until everything is done, and raise what went wrong here."""
        self._all.result()
        self._pool.shutdown()

    def _run_all(self) -> None:
        own = None
        if self._device is not self._interpreter:
            original = self._stage.variant(ORIGINAL)
            own = self._pool.submit(
                suite.run, self._device.host, self._stage, original, self._deadline
            )
        try:
            found = self._add_variants()
        except (OSError, SyntaxError, ValueError, RecursionError):  # it can't even be read
            found = []
        tried = self._round(self._interpreter, found)
        self.own = tried.own if own is None else own.result()
        if self.own.is_green and not tried.own.is_green:
            tried = self._round(self._device, found)
        self.neutral, self.mutants = tried.neutral, tried.mutants

    def _add_variants(self) -> list[Mutant]:
        """Write the mutants, and the same program in other words, where suites find them."""
        sources = {
            name: (self._stage.suite / self._stage.name / name).read_text(encoding="utf-8")
            for name in CANDIDATE
        }
        self._stage.add_variant(_NEUTRAL, neutral(sources))
        for mutant in (found := mutants(sources, most=MOST_MUTANTS)):
            self._stage.add_variant(mutant.name, {mutant.file: mutant.source})
        return found

    def _round(self, place: Place, found: Sequence[Mutant]) -> _Round:
        done = _Round(self._stage, place, self._deadline, partial(self._is_wrong, place))
        done.run(self._pool, found)
        return done


class _Round:
    """The suite at one place: on the op, in other words, and on mutants.

    A mutant that the judge can't tell from a right op either is harmless, and does not count.
    """

    def __init__(
        self, stage: Stage, place: Place, deadline: float, is_wrong: Callable[[Path], str]
    ) -> None:
        self._stage, self._place, self._deadline = stage, place, deadline
        self._is_wrong = is_wrong
        self._limit, self._is_red = deadline - time.monotonic(), False
        self.own = self.neutral = SuiteResult(ended="not run")
        self.mutants: list[MutantResult] = []

    def run(self, pool: ThreadPoolExecutor, found: Sequence[Mutant]) -> None:
        """All of it; where there are no mutants, there is no version in other words either."""
        own = pool.submit(self._run_own)
        if not found:
            self.own = self.neutral = own.result()
            return
        otherwise = pool.submit(self._suite, self._stage.variant(_NEUTRAL))
        tried = [pool.submit(self._try, mutant) for mutant in found]
        self.own, self.neutral = own.result(), otherwise.result()
        self.mutants = [result for one in tried if (result := one.result()) is not None]

    def _run_own(self) -> SuiteResult:
        result = self._suite(self._stage.variant(ORIGINAL))
        self._is_red = not result.is_green
        self._limit = max(_LEAST_SECONDS, _SLOWER * result.seconds)
        return result

    def _try(self, mutant: Mutant) -> MutantResult | None:
        """What becomes of a mutant; none is worth trying once the op itself has failed."""
        if self._is_red:
            return None
        folder = self._stage.variant(mutant.name)
        found = partial(MutantResult, name=mutant.name, description=mutant.description)
        result = self._suite(folder, first_failure=True)
        if not result.is_green:
            return found(fate="killed", by=result.problem)
        wrong = self._is_wrong(folder)
        return found(fate="survived" if wrong else "harmless", by=wrong)

    def _suite(self, variant: Path, *, first_failure: bool = False) -> SuiteResult:
        """One run, with the op's files of `variant`."""
        host, deadline = self._place.host, min(self._deadline, time.monotonic() + self._limit)
        return suite.run(host, self._stage, variant, deadline, first_failure=first_failure)


def _at_once() -> int:
    """How many suites run beside each other."""
    return max(2, min(10, cores() - 4))


def own_tests(suites: Suites) -> Check:
    """The check that the op's tests pass, and look at what it does, not at how it is written."""
    problem = suites.own.problem
    if not problem and suites.neutral.problem:
        problem = (
            "the tests fail on the same program written in other words, so they look at its text: "
            + suites.neutral.problem
        )
    return of_run(suites.own, problem)


def of_run(result: SuiteResult, problem: str) -> Check:
    """The check that a run of the tests makes."""
    return Check(
        name=OWN_TESTS,
        status="failed" if problem else "passed",
        cases=result.passed + result.failed,
        message=problem,
        seconds=round(result.seconds, 3),
    )


def mutation_score(suites: Suites) -> Check:
    """The check that the op's tests notice most of the mutants that are wrong."""
    if own_tests(suites).status == "failed":
        return Check(name=MUTATION, status="skipped", message="its own tests fail")
    results = suites.mutants
    counts = Counter(result.fate for result in results)
    wrong = counts["killed"] + counts["survived"]
    if not wrong:
        return Check(name=MUTATION, status="failed", message="no mutant of the op can be made")
    score = counts["killed"] / wrong
    survivors = [f"{r.description} ({r.name})" for r in results if r.fate == "survived"]
    said = f"{counts['killed']} of {wrong} noticed"
    if survivors:
        said += f"; unnoticed: {'; '.join(survivors)}"
    return Check(
        name=MUTATION,
        status="passed" if score >= LEAST_SCORE else "failed",
        cases=wrong,
        message=said if survivors else "",
    )
