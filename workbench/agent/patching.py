"""A model writes a recipe: the same loop, with two files to write and the model's code to read."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field

from workbench.agent import defining, prompts
from workbench.agent.budget import Budget
from workbench.agent.conversation import Conversation
from workbench.agent.files import Files, ToolError
from workbench.agent.model import Model
from workbench.agent.prices import facts
from workbench.agent.tools import SUBMIT, Arguments, Tool, Tools, reading
from workbench.agent.transcript import FILE, Transcript
from workbench.authors import Patching
from workbench.authors.formatting import formatted
from workbench.autopatch import Anatomy
from workbench.autopatch import text as recipes
from workbench.autopatch.draft import draft
from workbench.autopatch.sandboxed import Bench
from workbench.layout import recipe
from workbench.limits import Limits
from workbench.repository import content_of
from workbench_kernels.patching.recipe import CODE, RecipeError
from workbench_kernels.patching.recipe import FILE as RECIPE
from workbench_kernels.patching.recipe import Recipe as Parsed

# Of one class's code.
MOST_CHARACTERS = 40_000


class ReadClass(Arguments):
    """Read the code of one of the model's classes, as it is installed."""

    name: str = Field(description="As in transformers.models.llama.modeling_llama.LlamaMLP.")


OwnFile = Literal["recipe.toml", "rules.py"]


class WriteRecipe(Arguments):
    """Write the recipe anew, or code of its own where a hint is not enough."""

    file: OwnFile
    text: str = Field(description="All of the file.")


class EditRecipe(Arguments):
    """Replace a text that occurs exactly once in one of your files."""

    file: OwnFile
    old: str
    new: str


class CheckRecipe(Arguments):
    """Patch a tiny model with the recipe as it is now: is what it says so? Takes some seconds."""


class SubmitRecipe(Arguments):
    """Hand the recipe in: it is proven by training, then a person reads it. Call it alone."""


class RecipeFiles(Files):
    """The files below a root, of which the author of the recipe of type `op` writes two."""

    @property
    def written(self) -> dict[str, Path]:
        """Where they are, by what they are called."""
        folder = self.root / recipe(self.op).paths[0]
        return {name: folder / name for name in (RECIPE, CODE)}

    def write(self, file: str, text: str) -> str:
        """Make one of them anew, no larger than a recipe may be."""
        if len(text.encode()) > recipes.MOST_BYTES:
            raise ToolError(f"a file may have {recipes.MOST_BYTES} bytes")
        return super().write(file, text)


class Recipe:
    """The files that the model writes, and what it may ask of them."""

    def __init__(self, patching: Patching) -> None:
        self._patching = patching
        self._files = RecipeFiles(patching.root, patching.anatomy.type)

    def read_class(self, name: str) -> str:
        """The code of a class of the model's; of no other."""
        if name not in self._patching.anatomy.sources:
            raise ToolError(f"the model has no class {name!r}")
        module, _, symbol = name.rpartition(".")
        found = find_spec(module)
        if found is None or found.origin is None:
            raise ToolError(f"there is no module {module}")
        return _class(Path(found.origin).read_text(encoding="utf-8"), symbol)

    def check(self) -> str:
        """What isn't so, of a tiny model that is patched with it."""
        found, kind = self.read(), self._patching.anatomy.type
        config = dict(self._patching.config)
        with Bench(self._patching.root) as bench:
            said, _ = bench.ask("look", kind=kind, config=config, recipes=True)
        now = Anatomy.model_validate(said)
        left = [f"{p.short} ({p.kind}) is left alone: {p.reason}" for p in now.left]
        unseen = [f"{one.name} is seen by no rule" for one in now.unseen]
        wrong = recipes.differences(found, now)
        return "\n".join([*(wrong or ["what it says is so"]), *left, *unseen])

    def read(self) -> Parsed:
        """The recipe, if it is one.

        Raises:
            ToolError: it is none.
        """
        kind = self._patching.anatomy.type
        try:
            return recipes.read(kind, content_of(self._patching.root, recipe(kind)))
        except RecipeError as error:
            raise ToolError(str(error)) from error

    def submit(self) -> str:
        """See that it is a recipe, its code laid out as the library is."""
        code = self._files.written[CODE]
        if code.is_file():
            self._files.write(CODE, formatted(code.read_text(encoding="utf-8")))
        self.read()
        return "submitted"

    @property
    def tools(self) -> Tools:
        """What the model may call."""
        return Tools(
            [
                *reading(self._files),
                Tool("read_class", ReadClass, self.read_class),
                Tool("write", WriteRecipe, self._files.write, writes=True),
                Tool("edit", EditRecipe, self._files.edit, writes=True),
                Tool("check", CheckRecipe, self.check),
                Tool(SUBMIT, SubmitRecipe, self.submit),
            ]
        )


def patch(patching: Patching, model: Model, limits: Limits) -> Budget:
    """Let the model write the recipe, from what the engine would write; what it spent.

    Raises:
        LimitReached: what it may spend is spent.
        AuthorError: the model can't be asked, or won't go on.
    """
    own = Recipe(patching)
    draft(patching)
    begun = (patching.root / recipes.path(patching.anatomy.type)).read_text(encoding="utf-8")
    budget = Budget(limits, facts(model.name).price)
    conversation = Conversation(
        model, own.tools, Transcript(patching.folder / FILE), budget, patching.tell
    )
    system, task = prompts.patching(patching, begun, budget.limits)
    repairs = [prompts.repair(patching, n, limits) for n in range(len(patching.findings))]
    with defining.parked(patching.run, budget):
        conversation.run(system, task, repairs)
    return budget


def _class(source: str, symbol: str) -> str:
    """The lines of one class of a module, which is not run."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == symbol:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            lines = source.splitlines()[first - 1 : node.end_lineno]
            return "\n".join(lines)[:MOST_CHARACTERS]
    raise ToolError(f"its module has no class {symbol} of its own")
