"""Several attempts at one op on a terminal: what each is at, and how they rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from workbench.errors import WorkbenchError
from workbench.facts import print_facts
from workbench.runs import STOPPED, StageResult, State
from workbench.text import printable

if TYPE_CHECKING:
    from workbench.console import Terminal
    from workbench.runs.standings import Standings

_CAN_GO_ON = STOPPED | {State.OPEN}


class Watched:
    """Shows what runs that are driven side by side are at: on a terminal a line for each, which
    changes, elsewhere a line for each thing; without a console nothing.
    """

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._said: dict[str, str] = {}
        self._tasks: dict[str, TaskID] = {}
        self._live: Progress | None = None

    def __enter__(self) -> Watched:
        if self._console is not None and self._console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}", style="bold", markup=False),
                SpinnerColumn("dots", style="dim"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[doing]}", style="dim", markup=False),
                console=self._console,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def started(self, run: str, stage: str) -> None:
        """A stage of it begins."""
        self._at(run, stage)

    def doing(self, run: str, what: str) -> None:
        """The stage that runs is at this now."""
        if self._live is not None:
            self._at(run, what)
        elif self._said.get(run) != what:
            self._facts("", [run, what])
        self._said[run] = what

    def finished(self, run: str, stage: str, result: StageResult) -> None:
        """A stage of it ended."""
        style = "bold" if result.ok else "bold red"
        self._facts(stage, [run, *(result.summary or ["failed"])], style)
        for line in result.problem.splitlines():
            self._facts("", [run, line])

    def ended(self, run: str, problem: WorkbenchError | None) -> None:
        """Nobody drives it any more."""
        if self._live is not None and run in self._tasks:
            self._live.remove_task(self._tasks.pop(run))
        if problem is not None:
            first, *more = str(problem).splitlines() or [type(problem).__name__]
            self._facts("stopped", [run, first], "bold red")
            for line in (*more, *problem.hint.splitlines()):
                self._facts("", [run, line])

    def _at(self, run: str, what: str) -> None:
        if self._live is None:
            return
        if run not in self._tasks:
            self._tasks[run] = self._live.add_task(run, total=None, doing="")
        self._live.update(self._tasks[run], doing=printable(what))

    def _facts(self, label: str, facts: list[str], style: str = "bold") -> None:
        if self._console is not None:
            print_facts(self._console, label, facts, style)


def show(terminal: Terminal, found: Standings) -> None:
    """How they rank, why, and what can be done now."""
    if terminal.as_json:
        terminal.answer(found.model_dump(mode="json"))
        return
    terminal.table("attempts", rows(found))
    terminal.paragraph("stopped", [f"{one.run}: {one.reason}" for one in found.runs if one.reason])
    terminal.out.print()
    several = sum(standing.place is not None for standing in found.runs) > 1
    untimed = ["no time ranks them"] if several and not found.timed else []
    terminal.facts("ranked", [found.why, *untimed, f"{found.cost} spent in all"])
    if found.landed is not None:
        terminal.facts("approved", [found.landed, "of these attempts no other can be"])
    elif found.first is not None:
        first = f"waiting for you:  workbench review {found.first}"
        steps = [first, f"then  workbench approve {found.first}"]
        print_facts(terminal.out, "review", steps, "bold yellow", separator="   ")
    if found.landed is None and any(standing.state in _CAN_GO_ON for standing in found.runs):
        terminal.facts("go on", [f"workbench resume {found.cohort}"])


def rows(found: Standings) -> list[dict[str, str]]:
    """A row for each, with what it cost, and what it is ranked by."""
    return [
        {
            "rank": "-" if standing.place is None else f"{standing.place}.",
            "run": standing.run,
            "state": standing.state,
            "spent": _spent(standing.tokens, standing.dollars),
            **{name: standing.found[name] for name in found.criteria},
        }
        for standing in found.runs
    ]


def _spent(tokens: int, dollars: float | None) -> str:
    return f"{tokens:,} tokens" if dollars is None else f"${dollars:.2f}"
