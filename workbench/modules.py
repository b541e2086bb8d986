"""A class of an installed package as what an op is: its source, and the reference where that can be
had without a model. The package is read, never imported.

A forward that is a plain function of its tensors, of parameters made of one width, and of numbers
that have defaults becomes that function. Anything else is for a model to write down.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import BadReference, UsageError
from workbench.source import extract

# Of a module's source, that a model is shown.
MOST_CHARACTERS = 60_000
_MAKERS = frozenset({"ones", "zeros", "empty", "rand", "randn"})


@dataclass(frozen=True)
class Module:
    """A class in its module's source."""

    target: str
    file: Path
    text: str
    node: ast.ClassDef

    @property
    def shown(self) -> str:
        """The class, and after it as much of its module as may be shown."""
        own = ast.get_source_segment(self.text, self.node) or ""
        rest = f"{own}\n\n\n# The module it is from:\n\n{self.text}"
        return rest if len(rest) <= MOST_CHARACTERS else rest[:MOST_CHARACTERS] + "\n# ... (cut)"


def find(target: str) -> Module:
    """The class that PACKAGE:MODULE.CLASS names.

    Raises:
        UsageError: it's not of that form, or the package is not installed.
        BadReference: the package has no such module, or that no such class.
    """
    package, _, inside = target.partition(":")
    parts = inside.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in (package, *parts)):
        raise UsageError(
            f"{target!r} isn't of the form PACKAGE:MODULE.CLASS",
            "as in --from transformers:models.llama.modeling_llama.LlamaRMSNorm",
        )
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    if not folders:
        raise UsageError(f"{package} is not installed here", f"pip install {package}")
    *modules, name = parts
    below = Path(folders[0]).joinpath(*modules)
    file = below / "__init__.py" if below.is_dir() else below.with_suffix(".py")
    if not file.is_file():
        raise BadReference(f"{package} has no module {'.'.join(modules)}", f"looked for {file}")
    text = file.read_text("utf-8", "replace")
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    node = next((node for node in classes if node.name == name), None)
    if node is None:
        raise BadReference(
            f"{file} has no class {name}",
            f"it has {', '.join(node.name for node in classes[:12]) or 'none'}",
        )
    return Module(target, file, text, node)


def derive(module: Module, name: str) -> str:
    """The reference as a function of that name; "" where a model has to write it."""
    methods = {node.name: node for node in module.node.body if isinstance(node, ast.FunctionDef)}
    forward = methods.get("forward")
    if forward is None or forward.decorator_list or not _is_plain(forward.args):
        return ""
    me, *given = forward.args.args
    settings = _settings(methods.get("__init__"))
    used = {
        node.attr
        for node in ast.walk(forward)
        if isinstance(node, ast.Attribute) and _is(node.value, me.arg)
    }
    names = {node.id for node in ast.walk(forward) if isinstance(node, ast.Name)}
    taken = names | {argument.arg for argument in forward.args.args} | {name}
    if not used <= settings.keys() or used & taken or re.search(rf"\b{name}\b", module.text):
        return ""
    body = [_Alone(me.arg).visit(node) for node in forward.body]
    if any(_is(node, me.arg) for statement in body for node in ast.walk(statement)):
        return ""
    if ast.get_docstring(forward) is not None:
        body = body[1:]
    parameters = [attribute for attribute in sorted(used) if settings[attribute] is None]
    numbers = {a: settings[a] for a in sorted(used) if settings[a] is not None}
    code = "\n".join(ast.unparse(statement) for statement in body)
    arguments = [
        *(f"{argument.arg}: Tensor" for argument in given),
        *(f"{parameter}: Tensor" for parameter in parameters),
        *(f"{number}: {type(value).__name__} = {value!r}" for number, value in numbers.items()),
    ]
    lines = [f'"""As {module.target} computes it."""', *code.splitlines()]
    drawn = ["torch.randn(rows, cols)"] * len(given) + ["torch.randn(cols)"] * len(parameters)
    text = "\n".join(
        [
            module.text,
            "import torch",
            "from torch import Tensor",
            f"def {name}({', '.join(arguments)}):",
            *(f"    {line}" for line in lines),
            "def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:",
            f"    return ({', '.join(drawn)},)",
        ]
    )
    try:
        return extract(module.file, name, f"{text}\n").text
    except BadReference:
        return ""  # it needs more of its package


class _Alone(ast.NodeTransformer):
    """What a method says of `self.x`, said of `x`."""

    def __init__(self, me: str) -> None:
        self._me = me

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if _is(node.value, self._me) and isinstance(node.ctx, ast.Load):
            return ast.copy_location(ast.Name(node.attr, ast.Load()), node)
        return self.generic_visit(node)


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_plain(arguments: ast.arguments) -> bool:
    """Whether there is `self` and at least one tensor, and nothing that may be left out."""
    more = (arguments.vararg, arguments.kwarg, *arguments.kwonlyargs, *arguments.posonlyargs)
    return len(arguments.args) > 1 and not any(more) and not arguments.defaults


def _settings(init: ast.FunctionDef | None) -> dict[str, float | int | None]:
    """What `__init__` sets once and for all: a number, or None for a parameter of one width."""
    if init is None:
        return {}
    defaults = dict(
        zip(
            [argument.arg for argument in reversed(init.args.args)],
            reversed(init.args.defaults),
            strict=False,
        )
    )
    found: dict[str, float | int | None] = {}
    for node in (node for node in ast.walk(init) if isinstance(node, ast.Assign)):
        for target in node.targets:
            if isinstance(target, ast.Attribute) and _is(target.value, init.args.args[0].arg):
                value = node.value if node in init.body else None
                if target.attr in found or value is None:
                    return {}  # it depends on something
                if _is_parameter(value):
                    found[target.attr] = None
                elif isinstance(number := _number(value, defaults), int | float):
                    found[target.attr] = number
    return found


def _is_parameter(value: ast.expr) -> bool:
    """Whether it is `nn.Parameter(torch.ones(width))`, or the like."""
    if not (isinstance(value, ast.Call) and len(value.args) == 1):
        return False
    made = value.args[0]
    return (
        ast.unparse(value.func) in ("nn.Parameter", "torch.nn.Parameter", "Parameter")
        and isinstance(made, ast.Call)
        and len(made.args) == 1
        and isinstance(made.args[0], ast.Name)
        and ast.unparse(made.func).removeprefix("torch.") in _MAKERS
    )


def _number(value: ast.expr, defaults: dict[str, ast.expr]) -> object:
    """A literal number, or the default of an argument that is one."""
    given = defaults.get(value.id) if isinstance(value, ast.Name) else value
    number = given.value if isinstance(given, ast.Constant) else None
    return None if isinstance(number, bool) else number
