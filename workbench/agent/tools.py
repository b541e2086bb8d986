"""The tools an agent has: each a function with a schema of its arguments.

What goes wrong in one is a result for the model. Approval is none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.agent.files import Files, ToolError
from workbench.agent.model import Block
from workbench.agent.transcript import Result
from workbench.authors.formatting import formatted
from workbench.errors import WorkbenchError

SUBMIT = "submit"
MOST_ERROR = 4_000
OwnFile = Literal["kernel.py", "wrapper.py", "test"]


class Arguments(BaseModel):
    """Arguments of a tool; nothing is converted, nothing else is taken."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ListFolder(Arguments):
    """List the entries of a folder of the repository."""

    path: str = Field(description="From the repository's root; '.' is the root.")


class Read(Arguments):
    """Read a text file of the repository, with line numbers."""

    path: str = Field(description="From the repository's root.")
    first: int = Field(default=1, description="The first line to read.")
    count: int = Field(default=600, description="How many lines, at most 600.")


class Search(Arguments):
    """Find every line of the repository's Python files that has a text in it (no pattern)."""

    text: str
    path: str = Field(default=".", description="A file or folder to look below.")


class Write(Arguments):
    """Write one of your three files, anew or for the first time."""

    file: OwnFile
    text: str = Field(description="All of the file.")


class Edit(Arguments):
    """Replace a text that occurs exactly once in one of your three files."""

    file: OwnFile
    old: str
    new: str


class Verify(Arguments):
    """Ask the judge what it finds wrong with the op as it is now. Takes a minute or so; what the
    source itself breaks is said at once.
    """


class Compile(Arguments):
    """Compile the kernels for several GPUs: registers, spills, shared memory, wide accesses."""


class Bench(Arguments):
    """Measure the op on this machine's GPU beside PyTorch, at the sizes of the spec."""


class Submit(Arguments):
    """Hand the three files in: they are laid out by the formatter, then judged. Call it alone."""


class Checks(Protocol):
    """What the engine tells an author of the files in the worktree, in words."""

    def verify(self) -> str:
        """The judge's findings."""

    def compile(self) -> str:
        """The compiler's report."""

    @property
    def bench(self) -> Callable[[], str] | None:
        """What measures it, where there is a GPU."""


@dataclass(frozen=True)
class Tool:
    """A tool by its name. One that `writes` does so again when a run is resumed."""

    name: str
    arguments: type[Arguments]
    function: Callable[..., str]
    writes: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """As the Messages API takes it."""
        return schema(self.name, self.arguments)


def schema(name: str, arguments: type[Arguments]) -> dict[str, Any]:
    """A tool of that name, with what its arguments say, as the Messages API takes it."""
    said = arguments.model_json_schema()
    description = " ".join(str(said.pop("description")).split())
    return {
        "name": name,
        "description": description,
        "strict": True,
        "input_schema": {"type": "object", "properties": {}, **_untitled(said)},
    }


class Tools:
    """What a model may call in one conversation."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """All tools, as the Messages API takes them."""
        return [tool.schema for tool in self._tools.values()]

    def call(self, block: Block) -> Result:
        """Do what the model asked for."""
        started, name = time.monotonic(), str(block["name"])
        try:
            content, is_error = self._run(name, block["input"]), False
        except ValidationError as error:
            content, is_error = problems(error), True
        except (ToolError, WorkbenchError, OSError, UnicodeError) as error:
            content, is_error = str(error)[:MOST_ERROR], True
        return Result(
            call=block["id"],
            tool=name,
            content=content.encode("utf-8", "replace").decode(),  # names of files may be any bytes
            is_error=is_error,
            seconds=round(time.monotonic() - started, 3),
        )

    def repeat(self, block: Block, result: Result) -> None:
        """Do again to the files what a call did to them before this process began."""
        tool = self._tools.get(result.tool)
        if tool is not None and tool.writes and not result.is_error:
            self._run(tool.name, block["input"])

    def _run(self, name: str, given: object) -> str:
        if name not in self._tools:
            raise ToolError(f"there is no tool {name}: {', '.join(self._tools)}")
        tool = self._tools[name]
        arguments = tool.arguments.model_validate(given)
        return tool.function(**{field: getattr(arguments, field) for field in _fields(arguments)})


class Toolbox(Tools):
    """The tools of one author for one op."""

    def __init__(self, files: Files, checks: Checks) -> None:
        super().__init__(
            [
                *reading(files),
                Tool("write", Write, files.write, writes=True),
                Tool("edit", Edit, files.edit, writes=True),
                Tool("verify", Verify, checks.verify),
                Tool("compile", Compile, checks.compile),
                *([Tool("bench", Bench, checks.bench)] if checks.bench is not None else []),
                Tool(SUBMIT, Submit, partial(submit, files, files.written), writes=True),
            ]
        )


def reading(files: Files) -> list[Tool]:
    """The tools that look at the repository."""
    return [
        Tool("list", ListFolder, files.list),
        Tool("read", Read, files.read),
        Tool("search", Search, files.search),
    ]


def submit(files: Files, names: Iterable[str]) -> str:
    """Check that the author's files of these names are there, and lay them out as the library is.

    Raises:
        ToolError: one is not.
    """
    texts: dict[str, str] = {}
    for name in names:
        path = files.written[name]
        if not path.is_file():
            raise ToolError(f"{name} is not written yet")
        texts[name] = formatted(path.read_text(encoding="utf-8"))
    for name, text in texts.items():
        files.write(name, text)
    return "submitted"


def result_block(result: Result) -> Block:
    """A result as the Messages API takes it."""
    block: Block = {
        "type": "tool_result",
        "tool_use_id": result.call,
        "content": result.content or "(nothing)",
    }
    return block | {"is_error": True} if result.is_error else block


def not_done(calls: Sequence[Block], why: str) -> list[Block]:
    """Results for calls that were not carried out."""
    return [
        {"type": "tool_result", "tool_use_id": call["id"], "content": why, "is_error": True}
        for call in calls
    ]


def _fields(arguments: Arguments) -> list[str]:
    return list(type(arguments).model_fields)


def problems(error: ValidationError) -> str:
    """What is wrong with the arguments, a line each, without what was given."""
    lines = [
        f"{'.'.join(map(str, problem['loc'])) or 'arguments'}: {problem['msg']}"
        for problem in error.errors()
    ]
    return "\n".join(lines)[:MOST_ERROR]


def _untitled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without titles and defaults, of which the model learns nothing new."""
    plain = {key: value for key, value in schema.items() if key not in ("title", "default")}
    if isinstance(properties := plain.get("properties"), dict):
        plain["properties"] = {name: _untitled(value) for name, value in properties.items()}
    return plain
