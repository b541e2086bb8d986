"""The op's own tests: whether they pass, and whether they would notice if the op were wrong."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.channel import Channel, ChannelClosed, ChannelError
from workbench.judge.host import Host
from workbench.judge.mutants import Mutant, mutants, neutral
from workbench.judge.remote import Ended
from workbench.judge.stage import CANDIDATE, Stage
from workbench.judge.verdict import MUTATION, OWN_TESTS, Check, Fate, MutantResult

# A suite must notice so many of the mutants that are wrong.
LEAST_SCORE = 0.9
MOST_MUTANTS = 16
# A mutant's suite that takes this much longer than the op's own hangs.
_SLOWER, _LEAST_SECONDS = 3.0, 20.0
_NEUTRAL = "neutral"


class SuiteResult(BaseModel):
    """One run of the suite, as the process that ran it tells, or how that process ended."""

    model_config = ConfigDict(frozen=True)

    code: int = -1
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    failures: list[str] = []
    seconds: float = 0.0
    ended: str = ""

    @property
    def is_green(self) -> bool:
        """Every test that ran passed, and some did."""
        return self.code == 0 and self.passed > 0 and not self.failed

    @property
    def problem(self) -> str:
        """Why it isn't green."""
        if self.ended:
            return self.ended
        if self.failures:
            return f"{self.failed} of {self.passed + self.failed} fail, first {self.failures[0]}"
        return "" if self.is_green else "the file has no test that runs"


class Suites:
    """Runs the suite on the op, on the same program written otherwise, and on its mutants, beside
    whatever the caller does meanwhile.
    """

    def __init__(self, host: Host, stage: Stage, deadline: float) -> None:
        self._host, self._stage, self._deadline = host, stage, deadline
        self._limit, self._is_red = deadline - time.monotonic(), False
        self._pool = ThreadPoolExecutor(1 + max(2, min(10, (os.cpu_count() or 2) - 4)))
        self._all = self._pool.submit(self._run_all)
        self.own, self.neutral = SuiteResult(ended="not run"), SuiteResult(ended="not run")
        self.results: list[tuple[Mutant, SuiteResult]] = []

    def join(self) -> None:
        """Wait until everything is done, and raise what went wrong here."""
        self._all.result()
        self._pool.shutdown()

    def variant(self, mutant: Mutant) -> Path:
        """Where the mutant is."""
        return self._stage.variants / mutant.name

    def _run_all(self) -> None:
        own = self._pool.submit(self._run_own)
        try:
            found = self._add_variants()
        except (OSError, SyntaxError, ValueError, RecursionError):  # it can't even be read
            self.own = self.neutral = own.result()
            return
        otherwise = self._pool.submit(self._suite, self._stage.variants / _NEUTRAL)
        suites = [self._pool.submit(self._run_mutant, mutant) for mutant in found]
        self.own, self.neutral = own.result(), otherwise.result()
        self.results = [(m, suite.result()) for m, suite in zip(found, suites, strict=True)]

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

    def _run_own(self) -> SuiteResult:
        result = self._suite(self._stage.suite)
        self._is_red = not result.is_green
        self._limit = max(_LEAST_SECONDS, _SLOWER * result.seconds)
        return result

    def _run_mutant(self, mutant: Mutant) -> SuiteResult:
        """One mutant's run; none is worth running once the op itself has failed."""
        if self._is_red:
            return SuiteResult(ended="not run")
        return self._suite(self.variant(mutant), first_failure=True)

    def _suite(self, variant: Path, *, first_failure: bool = False) -> SuiteResult:
        """One run, with the op's files of `variant`."""
        path = [variant, self._stage.package]
        try:
            job = self._host.suite(self._stage.test, path, first_failure=first_failure)
        except Ended as gone:
            return SuiteResult(ended=str(gone))
        channel = Channel(job.end)
        try:
            deadline = min(self._deadline, time.monotonic() + self._limit)
            reply, _ = channel.receive(deadline=deadline, most=0)
            return SuiteResult.model_validate(reply)
        except TimeoutError:
            return SuiteResult(ended="not finished in time")
        except ChannelClosed:
            return SuiteResult(ended=f"the tests' process {job.ending()}")
        except (ChannelError, ValidationError):
            return SuiteResult(ended="the tests' process does not answer as it should")
        finally:
            channel.close()
            job.stop()


def own_tests(suites: Suites) -> Check:
    """The check that the op's tests pass, and look at what it does, not at how it is written."""
    problem = suites.own.problem
    if not problem and suites.neutral.problem:
        problem = (
            "the tests fail on the same program written in other words, so they look at its text: "
            + suites.neutral.problem
        )
    return Check(
        name=OWN_TESTS,
        status="failed" if problem else "passed",
        cases=suites.own.passed + suites.own.failed,
        message=problem,
        seconds=round(suites.own.seconds, 3),
    )


def mutation_score(
    suites: Suites, is_wrong: Callable[[Path], str]
) -> tuple[Check, list[MutantResult]]:
    """The check that the op's tests notice most mutants, and what became of each mutant.

    `is_wrong` says what the judge finds wrong with the op in a folder, "" if nothing: a mutant that
    the judge can't tell from a right op either is harmless, and does not count.
    """
    if own_tests(suites).status == "failed":
        return Check(name=MUTATION, status="skipped", message="its own tests fail"), []
    results = []
    for mutant, result in suites.results:
        fate: Fate = "killed"
        by = result.problem
        if result.is_green:
            by = is_wrong(suites.variant(mutant))
            fate = "survived" if by else "harmless"
        results.append(
            MutantResult(name=mutant.name, description=mutant.description, fate=fate, by=by)
        )
    return _score(results), results


def _score(results: Sequence[MutantResult]) -> Check:
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
