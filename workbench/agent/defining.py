"""A model writes a reference, from words or from a class: a small conversation of the same kind.

Its tools reach one text and nothing else: neither the repository nor any file. What it writes runs
in a sandbox, and waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field

from workbench import proposal
from workbench.agent import prompts
from workbench.agent.budget import Budget
from workbench.agent.conversation import Conversation
from workbench.agent.files import MOST_BYTES, ToolError
from workbench.agent.model import Model
from workbench.agent.prices import facts
from workbench.agent.tools import SUBMIT, Arguments, Tool, Tools
from workbench.agent.transcript import Transcript
from workbench.authors import Defined, Wanted
from workbench.errors import BadReference, LimitReached
from workbench.limits import Limits

FILE = "reference.jsonl"


class WriteReference(Arguments):
    """Write the reference: a Python file with the function, anew or for the first time."""

    text: str = Field(description="All of the file.")


class EditReference(Arguments):
    """Replace a text that occurs exactly once in the reference."""

    old: str
    new: str


class CheckReference(Arguments):
    """Run the reference, forward and backward: can a kernel be judged by it, and of what tier?"""


class SubmitReference(Arguments):
    """Hand the reference in: it is checked, and if nothing is wrong, a person reads it."""


class Draft:
    """The text that the model writes."""

    def __init__(self, op: str, origin: str) -> None:
        self._op, self._origin = op, origin
        self.text = ""

    def write(self, text: str) -> str:
        """Make it anew."""
        if len(text.encode()) > MOST_BYTES:
            raise ToolError(f"a file may have {MOST_BYTES} bytes")
        self.text = text
        return f"it has {len(text.splitlines())} lines now"

    def edit(self, old: str, new: str) -> str:
        """Replace a text that occurs once."""
        times = self.text.count(old) if old else 0
        if times != 1:
            raise ToolError(f"it has the old text {times} times: name one that it has once")
        return self.write(self.text.replace(old, new))

    def check(self) -> str:
        """What the engine finds when it runs it, in a sandbox."""
        if not self.text:
            raise ToolError("the reference is not written yet")
        try:
            found = proposal.examine(self.text, self._op, self._origin).profile
        except BadReference as error:
            raise ToolError(f"{error}\n{error.hint}".strip()) from error
        inputs = ", ".join(f"{tensor.name}: {tensor.kind}" for tensor in found.inputs)
        return f"tier {found.tier}: {'; '.join(found.reasons)}\ninputs {inputs}"

    def submit(self) -> str:
        """Check it once more."""
        self.check()
        return "submitted"

    @property
    def tools(self) -> Tools:
        """What the model may call."""
        return Tools(
            [
                Tool("write", WriteReference, self.write, writes=True),
                Tool("edit", EditReference, self.edit, writes=True),
                Tool("check", CheckReference, self.check),
                Tool(SUBMIT, SubmitReference, self.submit),
            ]
        )


def define(wanted: Wanted, model: Model, limits: Limits) -> Defined:
    """Let the model write the reference; what was said before is not asked for again.

    Raises:
        LimitReached: what it may spend is spent.
        AuthorError: the model can't be asked, or won't go on.
    """
    draft, budget = Draft(wanted.op, wanted.origin), Budget(limits, facts(model.name).price)
    transcript = Transcript(wanted.folder / FILE)
    conversation = Conversation(model, draft.tools, transcript, budget, wanted.tell)
    system, task = prompts.reference(wanted, budget.limits)
    with parked(wanted.run, budget):
        conversation.run(system, task, [])
    return Defined(draft.text, (model.name, *budget.facts()))


@contextmanager
def parked(run: str, budget: Budget) -> Iterator[None]:
    """Say of a limit that is reached what was spent, and how the run goes on."""
    try:
        yield
    except LimitReached as error:
        raise LimitReached(
            f"{error}: {', '.join(budget.facts())} spent",
            f"workbench resume {run} {error.hint} MORE goes on where it stopped",
        ) from error
