"""What `new --attempts`, `resume` and `show` do with several attempts at one op."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from workbench import cohort_page
from workbench.console import Terminal
from workbench.errors import Interrupted, RunError, UsageError, VerificationFailed, WorkbenchError
from workbench.runs import Record, Request, Run, State, cohorts
from workbench.runs.gate import ANALYSIS

if TYPE_CHECKING:
    from workbench.runs.engine import Engine


def check(author: str, *, written_by_a_person: bool) -> None:
    """Refuse what several attempts make no sense for.

    Raises:
        UsageError: this author, or a reference that each of them would have to write first.
    """
    from workbench import authors

    authors.sampler(author)
    if not written_by_a_person:
        raise UsageError(
            "several attempts need one reference, and nobody has written or confirmed it yet",
            "without --attempts first, to profile confirm RUN; then with it, and "
            "--reference .workbench/runs/RUN/reference.py:NAME",
        )


def begin(terminal: Terminal, engine: Engine, request: Request, several: int) -> None:
    """Begin so many runs of a request, and drive them to their review or their failure. What the op
    is, and with that what they may spend, is found out once, before they are begun.

    Raises:
        BadReference: the reference can't be traced; nothing was begun.
        TierError: the op is of another tier than asked for; nothing was begun.
    """
    from workbench.runs import stages
    from workbench.runs.store import now

    started, clock = now(), time.monotonic()
    terminal.started(ANALYSIS)
    result = stages.analysis(request)
    terminal.finished(ANALYSIS, result)
    facts = _bounds(request, several, {}, result.data["tier"])
    runs = engine.begin(request, several)
    seconds = round(time.monotonic() - clock, 3)
    record = Record(stage=ANALYSIS, result=result, started=started, seconds=seconds)
    cohorts.keep(engine.store, runs, record)
    _drive(terminal, engine, runs, {}, facts)


def resume(terminal: Terminal, engine: Engine, runs: list[Run], options: dict[str, Any]) -> None:
    """Go on with those that can; from here on these options stand.

    Raises:
        RunError: none can.
    """
    from workbench.runs import stages

    going = cohorts.to_drive(runs)
    name = _name(runs)
    if not going:
        raise RunError(f"none of the attempts {name} can go on", f"workbench show {name}")
    request = going[0].request
    stages.author(request.author, {**request.options, **options}, engine.store)
    found = next((record for run in runs if (record := run.latest(ANALYSIS))), None)
    known = found.result if found is not None and found.result.ok else stages.analysis(request)
    facts = _bounds(request, len(going), options, known.data["tier"])
    _drive(terminal, engine, going, options, facts)


def show(terminal: Terminal, engine: Engine, runs: list[Run]) -> None:
    """Show how they rank, and what each has cost."""
    from workbench.runs import standings

    cohort_page.show(terminal, standings.of(engine.store, runs))


def _drive(
    terminal: Terminal,
    engine: Engine,
    runs: list[Run],
    options: Mapping[str, Any],
    facts: list[str],
) -> None:
    """Drive runs of one cohort, show how all of it ranks, and end as the first of them does.

    Raises:
        Interrupted: the user stopped the command.
    """
    from workbench.runs import side_by_side, standings

    name = _name(runs)
    if not terminal.as_json:
        terminal.facts("attempts", [name, f"{len(runs)} side by side", *facts])
    with cohort_page.Watched(None if terminal.as_json else terminal.out) as watched:
        ids = [run.id for run in runs]
        try:
            problems = side_by_side.drive(engine.repository.root, ids, options, watched)
        except KeyboardInterrupt:
            raise Interrupted(
                f"the attempts {name} were stopped", f"workbench resume {name}"
            ) from None
    found = standings.of(engine.store, cohorts.members(engine.store.all(), name))
    cohort_page.show(terminal, found)
    if code := _exit_code(found.runs[0].state, problems.get(found.runs[0].run)):
        raise typer.Exit(code)


def _exit_code(state: State, problem: WorkbenchError | None) -> int:
    if problem is not None:
        return problem.exit_code
    return VerificationFailed.exit_code if state is State.FAILED else 0


def _bounds(request: Request, several: int, options: Mapping[str, Any], tier: int) -> list[str]:
    """What each may spend, and all of them together."""
    from workbench import authors
    from workbench.limits import phrase

    limits = authors.sampler(request.author).bounds(tier, {**request.options, **options})
    each = ", ".join(limits.words()) or "no limit"
    amounts = limits.amounts
    most = [phrase(n, several * amounts[n]) for n in ("dollars", "tokens") if n in amounts]
    return [f"each within {each}", *([f"all within {', '.join(most)}"] if most else [])]


def _name(runs: list[Run]) -> str:
    cohort = runs[0].request.cohort
    return cohort.id if cohort is not None else runs[0].id
