"""The command `workbench`: each verb parses, calls the engine once, and renders.

This is the only error boundary. Exit codes: 0 done (a run that reached its review is done), 1 bad
op or input, 2 usage, 3 a person must confirm the profile first, 4 an author gave up, 5 verification
failed, 70 a bug of ours, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from workbench import commands, session
from workbench.agent.redaction import redacted
from workbench.commands import attempts
from workbench.console import Terminal
from workbench.crash import keep_traceback
from workbench.errors import VerificationFailed, WorkbenchError
from workbench.facts import print_error
from workbench.mcp.command import mcp
from workbench.options import (
    EffortOf,
    Json,
    MaxCost,
    MaxMinutes,
    MaxTokens,
    MaxTurns,
    Model,
    On,
    Person,
    RunId,
    of_author,
)
from workbench.playbook.command import app as playbook
from workbench.runs import State, cohorts, gate
from workbench.verification import Kind

app = typer.Typer(
    help="An operation written in PyTorch in, a reviewed, measured, committed Triton kernel out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(commands.profile)


app.command()(commands.new)


@app.command()
def classify(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="FILE.py:FUNC, or a name of `ops`.")
    ],
    as_json: Json = False,
) -> None:
    """Say what an op is: its tier and why, what it saves, what it must move."""
    from workbench.runs import stages

    with Terminal(as_json) as terminal:
        terminal.profile(stages.classify(reference))


@app.command()
def runs(as_json: Json = False) -> None:
    """List the runs, newest first."""
    with Terminal(as_json) as terminal:
        terminal.runs(session.engine(terminal).store.all())


@app.command()
def show(run: RunId, as_json: Json = False) -> None:
    """Show all that a run's record says, or how several attempts at one op rank."""
    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        if cohort := cohorts.find(engine.store, run):
            attempts.show(terminal, engine, cohort)
            return
        found = engine.store.find(run)
        terminal.show(found)
        if found.state is State.PROFILE and not as_json:
            terminal.gate(gate.page(found, engine.store.folder_of(found.id)))


@app.command()
def review(run: RunId, as_json: Json = False) -> None:
    """Show what you decide by: the verdict, what is not known, every line."""
    from workbench.runs.review import review as page

    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        found = engine.store.find(run)
        if found.state is State.PROFILE:
            terminal.gate(gate.page(found, engine.store.folder_of(found.id)))
        else:
            terminal.review(page(found, engine.repository))


@app.command()
def approve(
    run: RunId,
    person: Person = None,
    as_json: Json = False,
) -> None:
    """Commit exactly what was reviewed, on a branch of its own."""
    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        session.end(terminal, engine.approve(run, engine.repository.person(person)))


@app.command()
def reject(
    run: RunId,
    reason: Annotated[str, typer.Option(help="Why; kept in the run's record.")],
    as_json: Json = False,
) -> None:
    """Discard what was reviewed and keep the record."""
    with Terminal(as_json) as terminal:
        session.end(terminal, session.engine(terminal).reject(run, reason))


@app.command()
def resume(
    run: RunId,
    model: Model = None,
    effort: EffortOf = None,
    max_turns: MaxTurns = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    max_minutes: MaxMinutes = None,
    as_json: Json = False,
) -> None:
    """Go on with a run that was stopped, parked, failed, or edited; or with several attempts."""
    from workbench.runs import stages

    options = of_author(model, effort, max_turns, max_tokens, max_cost, max_minutes)
    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        if cohort := cohorts.find(engine.store, run):
            attempts.resume(terminal, engine, cohort, options)
            return
        if options:
            request = engine.store.find(run).request
            stages.author(request.author, {**request.options, **options}, engine.store)
        session.end(terminal, engine.resume(run, options))


@app.command()
def abort(run: RunId, as_json: Json = False) -> None:
    """Discard a run that was not approved."""
    with Terminal(as_json) as terminal:
        session.end(terminal, session.engine(terminal).abort(run))


@app.command()
def verify(
    target: Annotated[
        str, typer.Argument(help="An op, a run, a folder, or a branch or range of git: A..B.")
    ],
    kind: Annotated[Kind | None, typer.Option("--as", help="What TARGET is.")] = None,
    op: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only these ops.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="That of a verdict to repeat.")] = None,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds for an op.")] = None,
    sandbox: Annotated[str | None, typer.Option(metavar="LEVEL", help="How to confine it.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML too.")] = None,
    as_json: Json = False,
) -> None:
    """Judge ops wherever they are: in the library, a run, a folder, a branch or range of git."""
    from workbench.verification import junit as xml
    from workbench.verification import targets
    from workbench.verification.verify import verify as judge

    if sandbox is not None:
        os.environ["WORKBENCH_SANDBOX"] = sandbox
    with Terminal(as_json) as terminal, targets.resolve(target, kind) as found:
        chosen = found.only(op or ())
        if junit is not None:
            xml.write(junit, b"")  # rather fail now than after the work
        terminal.target(chosen)
        result = judge(chosen, terminal, seed=seed, timeout=timeout)
        if junit is not None:
            xml.write(junit, xml.document(result))
        terminal.verification(result)
    if not result.passed:
        raise typer.Exit(VerificationFailed.exit_code)


@app.command()
def bench(
    ops: Annotated[
        list[str] | None,
        typer.Argument(metavar="OP...", help="Ops of the library; with --check, by default all."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="As in bfloat16.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(metavar="ROWSxCOLS", help="Instead of the spec's sizes.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Turns of each contender.")] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="OLD..NEW", help="Two revisions of git, in turn.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Against the library's committed evidence.")
    ] = False,
    on: On = "local",
    as_json: Json = False,
) -> None:
    """Measure ops on GPUs beside eager, torch.compile and peers; where none is, compile them."""
    from workbench import jobs
    from workbench.bench import bench as benching

    with Terminal(as_json) as terminal:
        plan = benching.plan(dtype, size or (), rounds)
        engine, found, failed = session.engine(terminal), [], []
        with benching.work(engine.repository, engine.store, plan, compare, check) as work:
            named = work.ops(ops or ())
            with jobs.executor(on) as executor, terminal.watches() as watches:
                for done in executor.run(work.jobs(named, executor), watches):
                    watches.ended(done.job)
                    if done.problem is not None:
                        failed.append(done)
                        terminal.failed(done)
                    else:
                        found.append(work.kept(done))
                        terminal.benched(found[-1])
        terminal.bench(found, failed)
    if failed or not all(one.passed for one in found):
        problem = next((one.problem for one in failed), None)
        raise typer.Exit((problem or VerificationFailed).exit_code)


app.command()(commands.autopatch)
app.command()(commands.models)
app.command()(commands.revise)
app.command()(commands.step)
app.command()(commands.tune)


@app.command()
def report(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="An op of the library, a run, or a record.")
    ],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its speed as one HTML page, instead.")
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option("--csv", "--rows", metavar="FILE", help="Its timings as CSV, or .json."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Its plots, one SVG file each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write what is known of an op as Markdown, from its evidence and from nothing else; or, with
    --html, --csv and --svg, what is known of its speed.
    """
    from workbench.bench.show import Wanted, show
    from workbench.evidence import render

    wanted = Wanted(html, rows, svg)
    with Terminal(as_json) as terminal:
        archive = session.archive(terminal)
        shown = show(archive, name, wanted) if wanted else None
        text = render.report(archive.about(name)) if output or not wanted else None
        if output is not None and text is not None:
            render.write(text, output)
        terminal.report(text, output, shown)


@app.command()
def evidence(
    ops: Annotated[list[str], typer.Argument(metavar="OP...", help="Ops of the library.")],
    as_json: Json = False,
) -> None:
    """Write evidence.json beside ops, from what is kept here of exactly their files."""
    from workbench.evidence.document import Document
    from workbench.layout import evidence_path
    from workbench.repository import content

    with Terminal(as_json) as terminal:
        archive = session.archive(terminal)
        root = archive.repository.root
        archive.repository.check_ops(ops)
        documents = [Document.gathered(op, content(root, op), archive.of_op(op)) for op in ops]
        for document in documents:  # all of them, or none
            (root / evidence_path(document.op)).write_text(document.dump(), encoding="utf-8")
        terminal.documents(documents)


@app.command()
def performance(
    file: Annotated[Path, typer.Argument(help="A document with a place for it.")] = Path(
        "README.md"
    ),
    check: Annotated[bool, typer.Option("--check", help="Only say if it is up to date.")] = False,
    as_json: Json = False,
) -> None:
    """Write the performance table of README.md, from the library's committed evidence."""
    from workbench.bench.performance import update

    with Terminal(as_json) as terminal:
        changed = update(file, session.engine(terminal).repository.root, check=check)
        terminal.performance(file, changed)


@app.command("verify-report")
def verify_report(
    file: Annotated[Path, typer.Argument(help="A document: a report, a README, a PR's text.")],
    as_json: Json = False,
) -> None:
    """Find the numbers of a document that no record says, or whose op was changed since."""
    from workbench.evidence import check

    with Terminal(as_json) as terminal:
        checked = check.check_file(file, session.archive(terminal))
        terminal.checked(checked)
    if not checked.passed:
        raise typer.Exit(VerificationFailed.exit_code)


@app.command()
def ops(as_json: Json = False) -> None:
    """List the library's ops with what is known of them, and the names `new` knows itself."""
    from workbench.inventory import inventory
    from workbench.tiers import tiers

    with Terminal(as_json) as terminal:
        archive = session.archive(terminal)
        terminal.ops(inventory(archive.repository, archive), tiers())


app.command()(mcp)
app.add_typer(playbook, name="playbook")


def main() -> NoReturn:
    """Run the command; every error ends here."""
    try:
        app(prog_name="workbench")
    except WorkbenchError as error:
        if "--json" in sys.argv:
            answer = {"error": str(error), "hint": error.hint, "exit_code": error.exit_code}
            Terminal(as_json=True).answer(answer)
        print_error(error)
        sys.exit(error.exit_code)
    except Exception as bug:
        what = redacted(f"{type(bug).__name__}: {bug}").splitlines()[0]
        hint = f"the traceback is {keep_traceback()}; no run is lost: workbench runs"
        print_error(WorkbenchError(f"a bug in the workbench: {what}", hint))
        sys.exit(70)
    sys.exit(0)
