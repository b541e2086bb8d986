"""References: the plain PyTorch functions that say what an op is.

One comes from a tier's catalogue (`find`) or from a user's file (`load`). Its tensor arguments come
first and have no default; keyword floats with defaults are parameters of the op; any other keyword
(an int, bool, str or None) stays at its default. Whether it is sound is for `soundness.check`.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.errors import BadReference, UnknownOpError
from workbench.source import Source, extract, only_function
from workbench.tiers import Tier, tiers

_NOT_IN_RECORD = frozenset({"function", "inputs", "file"})


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A reference: how to call it, what its arguments are, and its text.

    `function(*inputs(rows, cols), **parameters)` is the truth. `source` has the definitions it
    consists of, among them the function, there called `symbol`; `inputs_source` defines `inputs`;
    `imports` are what both need, one name each. `file` is how tracebacks name where the code is.
    """

    name: str
    symbol: str
    function: Callable[..., Any]
    inputs: Callable[[int, int], tuple[Tensor, ...]]
    tensors: tuple[str, ...]
    parameters: Mapping[str, float]
    origin: str
    formula: str
    imports: tuple[str, ...]
    source: str
    inputs_source: str
    file: str

    @property
    def place(self) -> str:
        """How messages name it: where its code is, and its name there."""
        return f"{self.file}: {self.symbol}"

    def call(self, tensors: Sequence[Tensor], parameters: Mapping[str, float] | None = None) -> Any:
        """What the function returns, at its default parameters unless given others."""
        return self.function(*tensors, **(self.parameters if parameters is None else parameters))

    @property
    def text(self) -> str:
        """A module that defines the function and `inputs`, and needs no other file."""
        return Source(self.imports, self.source, self.inputs_source).text

    def to_record(self) -> dict[str, Any]:
        """The reference as JSON can hold it, for a run that outlives the file it came from."""
        names = [field.name for field in fields(self) if field.name not in _NOT_IN_RECORD]
        record = {name: getattr(self, name) for name in names}
        return record | {
            "tensors": list(self.tensors),
            "parameters": dict(self.parameters),
            "imports": list(self.imports),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Reference:
        """The reference a record describes, rebuilt from the text in it.

        Raises:
            BadReference: the text doesn't run here.
        """
        parts = {**record, **{name: tuple(record[name]) for name in ("tensors", "imports")}}
        file = f"<reference {record['name']}>"
        text = Source(parts["imports"], parts["source"], parts["inputs_source"]).text
        module = _execute(text, file)
        inputs = _Inputs(module["inputs"], parts["tensors"], file)
        return cls(**parts, function=module[record["symbol"]], inputs=inputs, file=file)


def find(name: str, among: Sequence[Tier] | None = None) -> Reference:
    """The reference the catalogues of all tiers, or of those `among`, know by `name`.

    Raises:
        UnknownOpError: none knows it. Lists the nearest names and shows how to give a reference.
    """
    searched = tiers() if among is None else among
    catalogues = {known: tier for tier in searched for known in tier.references}
    if name not in catalogues:
        near = difflib.get_close_matches(name, catalogues, n=5, cutoff=0.5)
        raise UnknownOpError(
            f"no reference is named {name!r}" + (f"; near it: {', '.join(near)}" if near else ""),
            hint=f"give its definition: workbench new {name} --reference FILE.py:FUNCTION",
        )
    tier = catalogues[name]
    return _build(tier.catalogue, name, f"catalogue: {tier.name}")


def load(target: str) -> Reference:
    """The reference a user gave as `FILE.py:FUNCTION`. Runs the file, but not as `__main__`.

    Raises:
        BadReference: there is no such file or function, the file doesn't import, the function isn't
            self-contained, or its arguments aren't tensors followed by keywords with defaults.
    """
    path, _, symbol = target.rpartition(":")
    if not path.endswith(".py") or not symbol.isidentifier():
        raise BadReference(
            f"{target!r} isn't of the form FILE.py:FUNCTION",
            hint="as in --reference activations.py:relu2",
        )
    return _build(Path(path), symbol, target)


def parse(text: str, name: str, file: str, origin: str) -> Reference:
    """The reference in a text that is called `file`: its function of that name, or its only one.
    Runs it.

    Raises:
        BadReference: as `load`.
    """
    path = Path(file)
    return _build(path, only_function(text, name, path), origin, text)


def _build(file: Path, symbol: str, origin: str, text: str | None = None) -> Reference:
    source = extract(file, symbol, text)
    module = _execute(file.read_bytes() if text is None else text, str(file))
    function = module.get(symbol)
    if not callable(function) or inspect.isclass(function):
        what = "a class" if inspect.isclass(function) else f"a {type(function).__name__}"
        raise BadReference(f"{file}: {symbol} is {what}, not a function")
    tensors, parameters = _arguments(function, f"{file}: {symbol}")
    draw = module.get(source.drawn_by) or _normal(len(tensors))
    inputs = _Inputs(draw, tensors, str(file))
    inputs_source, needed = _inputs_source(source, inputs)
    return Reference(
        name=symbol,
        symbol=symbol,
        function=function,
        inputs=inputs,
        tensors=tensors,
        parameters=parameters,
        origin=origin,
        formula=(inspect.getdoc(function) or "").split("\n")[0].rstrip("."),
        imports=tuple(sorted({*source.imports, *needed})),
        source=source.definitions,
        inputs_source=inputs_source,
        file=str(file),
    )


# A user's code


@contextmanager
def user_code(file: str, failed: str) -> Iterator[None]:
    """Turn whatever the code in `file` raises into a BadReference that names the line."""
    try:
        yield
    except BadReference:
        raise
    except (Exception, SystemExit) as error:  # it isn't ours: it may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file]
        where = f"{file}:{lines[-1]}" if lines else file
        reason = str(error).strip().split("\n")[0]
        raised = type(error).__name__ + (f": {reason}" if reason else "")
        raise BadReference(f"{where}: {failed}: {raised}") from error


def _execute(code: str | bytes, file: str) -> dict[str, Any]:
    """The names a module's code defines. Leaves nothing in `sys.modules`, `sys.path` or on disk."""
    module: dict[str, Any] = {"__name__": "workbench_reference", "__file__": file}
    with user_code(file, "it doesn't import"):
        exec(compile(code, file, "exec", dont_inherit=True), module)
    return module


def _arguments(
    function: Callable[..., Any], where: str
) -> tuple[tuple[str, ...], dict[str, float]]:
    """The names of the tensor arguments, and the parameters with their defaults."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise BadReference(f"{where} doesn't tell its arguments: {error}") from error
    tensors, parameters = [], {}
    for argument in signature.parameters.values():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise BadReference(
                f"{where} takes {argument.name!r} of any number",
                hint="name each tensor, and give each number a keyword with a default",
            )
        if argument.kind is argument.POSITIONAL_ONLY:
            raise BadReference(
                f"{where}: its argument {argument.name} has no name for callers",
                hint="leave the `/` out: tensors are passed by name",
            )
        numeric = argument.annotation in (float, int, bool, "float", "int", "bool")
        default = argument.default
        if default is argument.empty:
            if numeric or argument.kind is argument.KEYWORD_ONLY:
                raise BadReference(
                    f"{where}: its argument {argument.name} has no default",
                    hint=f"write it `{argument.name}: float = 1.0`; only tensors go without",
                )
            tensors.append(argument.name)
        elif _is_parameter(argument):
            parameters[argument.name] = float(default)
        elif not isinstance(default, int | float | str | None):
            raise BadReference(
                f"{where}: its argument {argument.name} defaults to a {type(default).__name__}",
                hint="a tensor argument has no default; a parameter's default is a float",
            )
    if not tensors:
        raise BadReference(f"{where} takes no tensor")
    return tuple(tensors), parameters


def _is_parameter(argument: inspect.Parameter) -> bool:
    """Whether a keyword may vary: a float, or an int said to be one. Infinite means "off"."""
    default = argument.default
    said_float = type(default) is int and argument.annotation in (float, "float")
    return said_float or (isinstance(default, float) and math.isfinite(default))


# Inputs


@dataclass(frozen=True)
class _Inputs:
    """Draws the inputs and refuses anything but one tensor for each argument."""

    draw: Callable[[int, int], Any]
    tensors: tuple[str, ...]
    file: str

    def raw(self, rows: int, cols: int) -> Any:
        with user_code(self.file, f"its inputs({rows}, {cols}) fails"):
            return self.draw(rows, cols)

    def __call__(self, rows: int, cols: int) -> tuple[Tensor, ...]:
        drawn = self.raw(rows, cols)
        each = drawn if isinstance(drawn, tuple | list) else (drawn,)
        kinds = [type(item).__name__ for item in each if not isinstance(item, Tensor)]
        if kinds or len(each) != len(self.tensors):
            got = f"a {kinds[0]}" if kinds else f"{len(each)} tensors"
            raise BadReference(
                f"{self.file}: its inputs({rows}, {cols}) returns {got}",
                hint=f"return a tuple with one tensor for each of {', '.join(self.tensors)}",
            )
        return tuple(each)


def _normal(count: int) -> Callable[[int, int], tuple[Tensor, ...]]:
    return lambda rows, cols: tuple(torch.randn(rows, cols) for _ in range(count))


def _inputs_source(source: Source, inputs: _Inputs) -> tuple[str, tuple[str, ...]]:
    """A function `inputs` that returns a tuple, whatever the user's returns; imports it adds."""
    header = "def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:\n    return "
    if not source.drawn_by:
        normal = ["torch.randn(rows, cols)"] * len(inputs.tensors)
        drawn = f"({normal[0]},)" if len(normal) == 1 else ", ".join(normal)
        return header + drawn, ("import torch", "from torch import Tensor")
    with torch.random.fork_rng(devices=[]):
        if not isinstance(inputs.raw(2, 3), Tensor):
            return source.inputs, ()
    theirs, renamed = re.subn(r"^def inputs\b", "def _draw", source.inputs, flags=re.MULTILINE)
    if not renamed:
        raise BadReference(
            f"{inputs.file}: {source.drawn_by} returns a tensor", hint="return the tuple `(x,)`"
        )
    return f"{theirs}\n\n\n{header}(_draw(rows, cols),)", ("from torch import Tensor",)
