"""The commands `workbench playbook` and `workbench playbook check`."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.console import Terminal
from workbench.errors import VerificationFailed
from workbench.options import Json

Architecture = Annotated[
    str | None, typer.Option(metavar="sm_90", help="Instead of this machine's, or sm_90.")
]
app = typer.Typer(
    help="What is known of kernels, and the programs that show it.", add_completion=False
)


@app.callback(invoke_without_command=True)
def playbook(context: typer.Context) -> None:
    """List the facts that an author is told, or check them."""
    if context.invoked_subcommand is None:
        show(None, False)


@app.command("list")
def show(architecture: Architecture = None, as_json: Json = False) -> None:
    """List the facts of an architecture, as an author of a kernel for it is told them."""
    from workbench import playbook

    with Terminal(as_json) as terminal:
        name = _known(architecture)
        found = [fact for fact in playbook.facts() if fact.is_of(name)]
        if as_json:
            listed = [fact.model_dump(mode="json", exclude={"probe"}) for fact in found]
            terminal.answer({"architecture": name, "facts": listed})
            return
        for fact in found:
            terminal.facts("", [f"{fact.id}: {fact.statement}"])
        terminal.facts(
            "playbook", [f"{len(found)} facts of {name}", "workbench playbook check runs them"]
        )


@app.command()
def check(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="By default all.")
    ] = None,
    architecture: Architecture = None,
    as_json: Json = False,
) -> None:
    """Run the facts' probes; those that only compile need no GPU. Exit code 5: a fact is wrong."""
    from workbench import playbook
    from workbench.playbook.check import check as run

    with Terminal(as_json) as terminal:
        name, found = _known(architecture), []
        for one in run(playbook.chosen(playbook.facts(), ids or ()), name):
            found.append(one)
            if not as_json:
                figures = [f"{what} {value}" for what, value in one.figures.items()]
                terminal.facts(
                    one.verdict,
                    [one.id, *figures, *([one.why] if one.why else [])],
                    "bold" if one.passed else "bold red",
                )
        if as_json:
            terminal.answer(
                {"architecture": name, "checked": [one.model_dump(mode="json") for one in found]}
            )
        else:
            counts = [
                f"{sum(one.verdict == verdict for one in found)} {verdict}"
                for verdict in ("holds", "refuted", "skipped", "broken")
            ]
            terminal.facts("playbook", [name, *counts])
    if not all(one.passed for one in found):
        raise typer.Exit(VerificationFailed.exit_code)


def _known(architecture: str | None) -> str:
    from workbench import playbook
    from workbench.bench.architectures import architecture as find

    return playbook.at_hand() if architecture is None else find(architecture).name
