"""The launch parameters that a kernel declares, read from its source and written back.

What is read is the literal in a line like `FORWARD = ByWidth({...}, {...})`: see
`workbench_kernels.tuning`. The kernel is never imported here.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from workbench.authors.formatting import formatted
from workbench.bench.contest import Direction
from workbench.errors import WorkbenchError
from workbench.judge.variants import DECLARED

Config = Mapping[str, int]
# The width of a table that is the same at every size.
EVERY = 0


@dataclass(frozen=True)
class Table:
    """One declaration: what holds from each width on, every parameter named.

    `configs` maps a width to the configuration from there on, `EVERY` to that of all sizes below;
    `choices` are the values to try of each parameter, the most promising first.
    """

    name: str
    kind: str
    configs: Mapping[int, Config]
    choices: Mapping[str, Sequence[int]]
    own_choices: bool

    def width(self, cols: int) -> int:
        """The width that rows of so many columns belong to: the power of two that holds them."""
        return EVERY if self.kind == "Fixed" else 1 << max(0, cols - 1).bit_length()

    def at(self, width: int) -> Config:
        """The configuration of a width."""
        return self.configs[max(known for known in self.configs if known <= width)]

    def directions(self) -> Sequence[Direction]:
        """What it governs, by its name."""
        named: list[Direction] = [way for way in _WAYS if way.upper() in self.name.upper()]
        return named or list(_WAYS)

    def having(self, chosen: Mapping[int, Config]) -> Table:
        """The table with other configurations at these widths, each from there to the next of them
        or to the next that had one of its own.
        """
        return replace(self, configs={**self.configs, **chosen})

    @property
    def source(self) -> str:
        """The declaration's right side."""
        start, *steps = sorted(self.configs.items())
        told = dict(start[1])
        at: dict[int, dict[str, int]] = {}
        for width, config in steps:
            if changed := {name: value for name, value in config.items() if told[name] != value}:
                at[width], told = changed, {**told, **changed}
        arguments = [repr(dict(start[1]))]
        if at:
            arguments.append(repr(at))
        if self.own_choices:
            own = {name: tuple(values) for name, values in self.choices.items()}
            arguments.append(f"choices={own!r}")
        return f"{self.kind}({', '.join(arguments)})"


_WAYS: tuple[Direction, ...] = ("forward", "backward")


def tables(source: str) -> dict[str, Table]:
    """What a kernel declares, by name.

    Raises:
        WorkbenchError: a declaration is no literal.
    """
    return {name: _table(name, call) for name, call in _calls(ast.parse(source))}


def rewritten(source: str, changed: Iterable[Table]) -> str:
    """The kernel with these declarations in place of those of their names, laid out anew."""
    by_name = {table.name: table for table in changed}
    lines = source.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    data = source.encode()
    for name, call in sorted(_calls(ast.parse(source)), key=lambda found: -found[1].lineno):
        if name in by_name:
            assert call.end_lineno is not None and call.end_col_offset is not None
            first = starts[call.lineno - 1] + call.col_offset
            last = starts[call.end_lineno - 1] + call.end_col_offset
            data = data[:first] + by_name[name].source.encode() + data[last:]
    return formatted(data.decode())


def _calls(module: ast.Module) -> list[tuple[str, ast.Call]]:
    return [
        (statement.targets[0].id, statement.value)
        for statement in module.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id in DECLARED
    ]


def _table(name: str, call: ast.Call) -> Table:
    assert isinstance(call.func, ast.Name)
    kind = DECLARED[call.func.id]
    try:
        given = [ast.literal_eval(argument) for argument in call.args]
        named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        said = inspect.signature(kind).bind(*given, **named).arguments
        declared = kind(*given, **named)
        configs = {width: dict(declared.at(width)) for width in sorted(said.get("at", {}))}
        configs[EVERY] = dict(said[next(iter(said))])
    except (ValueError, TypeError) as error:
        raise WorkbenchError(
            f"{name} of line {call.lineno} can't be read: {type(error).__name__}: {error}",
            "what a kernel declares to be tuned is a literal of numbers",
        ) from error
    return Table(name, call.func.id, configs, declared.choices, "choices" in said)
