"""How the workbench talks: lines of facts for people, one JSON object for programs.

A line is a label, then facts joined by ` · `. On a terminal it is wrapped with a hanging indent,
and a stage that runs shows for how long it does; elsewhere every line is one line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.text import Text

from workbench import overview
from workbench import workflow as workflows
from workbench.facts import INDENT, print_facts
from workbench.layout import evidence_path
from workbench.phrases import age, count, place
from workbench.runs import Run, StageResult, State
from workbench.text import printable

if TYPE_CHECKING:
    from workbench.bench.bench import Bench
    from workbench.bench.show import Shown
    from workbench.evidence.check import Checked
    from workbench.evidence.document import Document
    from workbench.inventory import Entry
    from workbench.jobs import Done
    from workbench.profile import Profile
    from workbench.runs.gate import Page
    from workbench.runs.review import Review
    from workbench.tiers import Tier
    from workbench.verification.result import OpResult, Verification
    from workbench.verification.targets import Target
    from workbench.watches import Watches


class Terminal:
    """Standard output, and the progress of a run; with `as_json`, nothing but one JSON object."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
        self._live: Progress | None = None
        self._said = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    # A run's progress

    def started(self, stage: str) -> None:
        """Show that a stage runs, and for how long; only on a terminal."""
        if self.as_json or not self.out.is_terminal:
            return
        name = TextColumn(f"{stage:<{INDENT - 1}}", style="bold", markup=False)
        spinner = SpinnerColumn("dots", style="dim")
        doing = TextColumn("{task.fields[doing]}", style="dim", markup=False)
        columns = (name, spinner, TimeElapsedColumn(), doing)
        self._live = Progress(*columns, console=self.out, transient=True)
        self._live.add_task(stage, total=None, doing="")
        self._live.start()

    def doing(self, what: str) -> None:
        """Say what the stage that runs is at: beside its spinner, or a line where there is none."""
        if self._live is not None:
            self._live.update(self._live.task_ids[0], doing=printable(what))
        elif not self.as_json and what != self._said:
            self.facts("", [what])
        self._said = what

    def finished(self, stage: str, result: StageResult) -> None:
        """Print the stage's line."""
        self._stop()
        if not self.as_json:
            self.stage(stage, result)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # Lines

    def answer(self, data: Mapping[str, Any]) -> None:
        """The one JSON object of a command called with `--json`."""
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def facts(self, label: str, facts: Sequence[str], style: str = "bold") -> None:
        """A label and facts, wrapped between facts where possible."""
        print_facts(self.out, label, facts, style)

    def stage(self, stage: str, result: StageResult) -> None:
        """A stage's line, and a line for each thing that went wrong."""
        style = "bold" if result.ok else "bold red"
        self.facts(stage, result.summary or ["failed"], style)
        for line in result.problem.splitlines():
            self.facts("", [line])

    def paragraph(self, title: str, items: Sequence[str], style: str = "bold") -> None:
        """One item per line under a title, if there are any."""
        for number, item in enumerate(items):
            if number == 0:
                self.out.print()
            self.facts("" if number else title, [item], style)

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of named values under a title, numbers to the right."""
        cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
        numbers = [isinstance(value, int | float) for value in rows[0].values()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        self.out.print()
        for row, label in zip(cells, [title, *[""] * len(rows)], strict=True):
            line = Text(f"{label:<{INDENT}}", style="bold")
            for cell, width, number in zip(row, widths, numbers, strict=True):
                padded = cell.rjust(width) if number else cell.ljust(width)
                line.append(
                    f"{padded}  ", style="not bold" if row is not cells[0] else "not bold dim"
                )
            line.rstrip()
            self._row(line)

    def _row(self, line: Text) -> None:
        """A row of a table: what a terminal has no room for is cut, elsewhere it is one line."""
        cut = self.out.is_terminal
        self.out.print(line, no_wrap=True, overflow="ellipsis" if cut else "ignore", crop=cut)

    def code(self, text: str, language: str) -> None:
        """Code or a difference of two trees, coloured on a terminal."""
        self.out.print()
        if self.out.is_terminal:
            look = Syntax.get_theme("ansi_dark")
            page = Syntax(text.rstrip(), language, theme=look, background_color="default")
            page.word_wrap = True
            self.out.print(page)
        else:
            self.out.print(Text(text.rstrip()))
        self.out.print()

    # Answers

    def outcome(self, run: Run) -> None:
        """What a run waits for, or how it ended."""
        if self.as_json:
            self.answer(run.model_dump(mode="json"))
        elif run.state in (State.REVIEW, State.PROFILE):
            verb = "approve" if run.state is State.REVIEW else "profile confirm"
            first = f"waiting for you:  workbench review {run.id}"
            steps = [first, f"then  workbench {verb} {run.id}"]
            print_facts(self.out, run.state, steps, "bold yellow", separator="   ")
        elif run.state is State.COMMITTED:
            self.facts("next", [f"git merge workbench/{run.id}"], "bold green")
        elif run.state in (State.REJECTED, State.ABORTED, State.UNCHANGED):
            self.facts(run.state, [run.id, *([run.reason] if run.reason else [])])

    def runs(self, runs: Sequence[Run]) -> None:
        """One line per run."""
        if self.as_json:
            listed = [
                run.model_dump(mode="json", exclude={"records", "request"})
                | ({"cohort": run.request.cohort.model_dump()} if run.request.cohort else {})
                for run in runs
            ]
            self.answer({"runs": listed})
            return
        if not runs:
            self.facts("runs", ["none yet:  workbench new NAME"])
        for line in overview.runs(runs):
            self._row(line)

    def show(self, run: Run) -> None:
        """Everything a run's record says, stage by stage."""
        if self.as_json:
            self.answer(run.model_dump(mode="json"))
            return
        self._heading(run)
        for record in run.records:
            if record.stage != "review":
                seconds = f"{record.seconds:.1f} s"
                summary = [*record.result.summary, seconds]
                self.stage(record.stage, record.result.model_copy(update={"summary": summary}))
        if run.reason:
            self.facts(run.state, [run.reason], overview.COLOURS.get(run.state, "bold"))
        else:
            self.outcome(run)

    def review(self, page: Review) -> None:
        """The page a person decides by: facts, tables, what nobody knows, every line."""
        if self.as_json:
            self.answer(page.model_dump(mode="json"))
            return
        self._heading(page.run)
        for stage, result in page.results.items():
            self.stage(stage, result)
        for result in page.results.values():
            for title, rows in result.tables.items():
                self.table(title, rows)
        self.paragraph("not known", page.unknown, "bold yellow")
        self.paragraph("changed", page.changes, "bold red")
        self.code(page.diff, "diff")
        if page.run.state is State.REVIEW:
            self.facts("approve", [f"workbench approve {page.run.id}"])
            self.facts("reject", [f'workbench reject {page.run.id} --reason "..."'])

    def profile(self, profile: Profile) -> None:
        """What an op is, before any kernel exists."""
        if self.as_json:
            self.answer(profile.model_dump(mode="json"))
            return
        from workbench import gate_page

        for label, facts in gate_page.profile(profile):
            self.facts(label, facts)

    def gate(self, page: Page) -> None:
        """The page a person confirms a profile by: the reference, word for word, and what it is."""
        from workbench import gate_page

        if self.as_json:
            self.answer(page.model_dump(mode="json"))
            return
        self._heading(page.run)
        if page.reference:
            self.code("\n".join(map(printable, page.reference.splitlines())), "python")
        for label, facts in gate_page.lines(page):
            self.facts(label, facts)
        for title, rows in gate_page.tables(page).items():
            self.table(title, rows)
        for label, facts in gate_page.steps(page):
            self.facts(label, facts, "bold yellow")

    def ops(self, library: Sequence[Entry], tiers: Sequence[Tier]) -> None:
        """The library, and the names a catalogue knows."""
        if self.as_json:
            catalogues = {tier.name: list(tier.references) for tier in tiers}
            known = {entry.op: asdict(entry) for entry in library}
            self.answer({"library": list(known), "ops": known, "catalogues": catalogues})
            return
        if library:
            self.out.print(overview.table(library))
            self.facts("", overview.legend(library))
        else:
            self.facts("library", ["no op yet"])
        for tier in tiers:
            names = ", ".join(tier.references) or "no names"
            self.facts(f"tier {tier.number}", [f"{tier.title}: {names}"])

    def documents(self, documents: Sequence[Document]) -> None:
        """The evidence that was written beside ops."""
        written = {d.op: [f"{e.kind} {e.id[:12]}" for e in d.evidence] for d in documents}
        if self.as_json:
            self.answer(
                {"evidence": {evidence_path(op): records for op, records in written.items()}}
            )
            return
        for op, records in written.items():
            self.facts("evidence", [evidence_path(op), *records])

    # What `verify` finds

    def target(self, target: Target) -> None:
        """What is about to be judged."""
        if not self.as_json:
            label = "range" if target.kind == "git" else target.kind
            self.facts(label, [*target.facts, f"{count(target.ops, 'op')} to judge"])

    def judged(self, result: OpResult) -> None:
        """An op's verdict, with what failed and what nobody knows."""
        self._stop()
        if self.as_json:
            return
        verdict = result.verdict
        label, style = ("passed", "bold green") if result.passed else ("failed", "bold red")
        record = [f"evidence {result.evidence[:12]}"] if result.evidence else []
        facts = [result.op, *verdict.summary(), f"seed {verdict.seed}", *record]
        self.facts(label, facts, style)
        for check in verdict.failures:
            for line in f"{check.name}: {check.message}".splitlines():
                self.facts("", [line])
        for number, check in enumerate(verdict.skipped):
            label = "" if number else "not known"
            self.facts(label, [f"{check.name}: {check.message}"], "bold yellow")

    def verification(self, found: Verification) -> None:
        """What was not judged, and the count of what was."""
        if self.as_json:
            self.answer(found.model_dump(mode="json"))
            return
        if found.deleted:
            self.facts("deleted", [", ".join(found.deleted)])
        if found.other_files:
            facts = [count(found.other_files, "other file")]
            if found.judging_files:
                names = ", ".join(found.judging_files)
                facts.append(f"of these, ops are judged by {names}: for a person to review")
            self.facts("not judged", facts)
        passed = sum(result.passed for result in found.ops)
        counted = f"{passed} of {len(found.ops)} ops passed"
        if not found.ops:
            what = "changes no op" if found.base != found.head else "has no commit of its own"
            counted = f"nothing to judge: {found.target} {what}"
        self.facts("verify", [counted], "bold green" if found.passed else "bold red")

    # What `bench` finds

    def watches(self) -> Watches:
        """Who shows what jobs are at: a live table, or a line for each size."""
        from workbench.watches import Watches

        return Watches(None if self.as_json else self.out)

    def failed(self, done: Done) -> None:
        """A job that gave nothing, why, and what to do."""
        if self.as_json or done.problem is None:
            return
        first, *more = str(done.problem).splitlines()
        self.facts("failed", [done.job.label, first], "bold red")
        for line in (*more, *done.problem.hint.splitlines()):
            self.facts("", [line])

    def benched(self, bench: Bench) -> None:
        """What is known of an op's speed, the sizes that are lost first."""
        from workbench.bench import table
        from workbench.bench.measurement import Measurement

        if self.as_json:
            return
        found, style = bench.found, "bold" if bench.passed else "bold red"
        facts = [bench.op, *found.summary(), f"evidence {bench.evidence.id[:12]}"]
        self.facts("bench", facts, style)
        for failure in found.failures:
            self.facts("", [failure])
        if isinstance(found, Measurement):
            if rows := table.rows(found):
                self.table("measured", rows)
            self.paragraph("not known", table.problems(found), "bold yellow")
        elif found.kernels:
            self.table("compiled", [table.usage_row(usage) for usage in found.kernels])
            if found.floors:
                self.table("must move", [table.floor_row(floor) for floor in found.floors])

    def bench(self, found: Sequence[Bench], failed: Sequence[Done]) -> None:
        """All that was found, for a program."""
        if self.as_json:
            records = [{"op": one.op, "evidence": one.evidence.record} for one in found]
            problems = [
                {"op": one.job.op, "error": str(one.problem), "hint": one.problem.hint}
                for one in failed
                if one.problem is not None
            ]
            self.answer({"ops": records, "failed": problems})

    # Reports

    def report(self, text: str | None, file: Path | None, shown: Shown | None = None) -> None:
        """A report as it is, or where it was written to, as was what else was wanted."""
        if self.as_json:
            given = {"report": text, "file": None if file is None else str(file)}
            self.answer(given | ({} if shown is None else shown.data))
            return
        if text is not None and file is not None:
            self.facts("report", [str(file), f"workbench verify-report {file}"])
        elif text is not None:
            sys.stdout.write(text)
        for path in shown.files if shown is not None else ():
            self.facts("report", [str(path)])

    def performance(self, file: Path, changed: bool) -> None:
        """Whether a document's table was written anew."""
        if self.as_json:
            self.answer({"file": str(file), "changed": changed})
        else:
            self.facts("table", [str(file), "written" if changed else "up to date"])

    def checked(self, found: Checked) -> None:
        """How many numbers of a document were looked up, and each that is not so."""
        if self.as_json:
            self.answer(found.model_dump(mode="json"))
            return
        for finding in found.findings:
            where = f"{finding.file}:{finding.line}:{finding.column}: {finding.token}"
            self.facts("wrong", [f"{where}: {finding.problem}"], "bold red")
            self.facts("", [finding.hint])
        counted = [f"{found.numbers} numbers checked", f"{len(found.records)} records cited"]
        counted.append(f"{len(found.findings)} wrong")
        self.facts("report", counted, "bold green" if found.passed else "bold red")

    def _heading(self, run: Run) -> None:
        request = run.request
        self.facts("run", [run.id, *place(run), run.state, f"begun {age(run.created)}"])
        about = workflows.load(request.workflow).about
        self.facts(about, [run.op, request.origin, f"{request.author} author"])
