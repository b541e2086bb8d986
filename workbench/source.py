"""Cut a reference out of its file as text that stands alone, ready to become part of an op's spec.

Kept are the function, the function that draws its inputs, and, transitively, the functions,
classes, constants and imports of its module they use. A name bound inside a compound statement
(`try`, `if`) keeps the whole statement. What is used and what is bound is decided by Python's own
scoping (`symtable`): a local variable never drags in a global of the same name.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import re
import symtable
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workbench.errors import BadReference

# Names every module has without binding them.
_GIVEN = frozenset(dir(builtins)) | {"__name__", "__file__"}
_SELF_CONTAINED = (
    "copy what it needs into the reference's file: the op's spec stands alone, "
    "with torch and the standard library"
)


@dataclass(frozen=True)
class Source:
    """A reference as text: `text` is a whole module, the rest are its parts.

    `imports` have one name each; `definitions` are the function and what it needs, in file order;
    `inputs` defines `inputs(rows, cols)` or is empty; `drawn_by` is the name it has in the file.
    """

    imports: tuple[str, ...]
    definitions: str
    inputs: str = ""
    drawn_by: str = ""

    @property
    def text(self) -> str:
        """The module: imports, definitions, inputs."""
        imports = arrange(("from __future__ import annotations", *self.imports))
        return (
            "\n\n\n".join(part for part in (imports, self.definitions, self.inputs) if part) + "\n"
        )


def extract(file: Path, function: str, text: str | None = None) -> Source:
    """Cut `function` out of `file`, with `<function>_inputs` or else `inputs` where there is one;
    out of `text`, if that is given, which is only called `file`.

    Raises:
        BadReference: the file can't be read or parsed, has no such function, or the function needs
            a module other than torch and the standard library.
    """
    statements = list(_statements(_read(file) if text is None else text, file))
    bound = {name for statement in statements for name in statement.binds}
    if function not in bound:
        raise BadReference(f"{file} has no function {function!r}", hint=_nearest(function, bound))
    drawn_by = next((n for n in (f"{function}_inputs", "inputs") if n in bound - {function}), "")
    names, used = _closure(statements, [function, *filter(None, [drawn_by])])
    if drawn_by != "inputs" and "inputs" in names & bound:
        raise BadReference(
            f"{file}: {function} uses the name `inputs`, which its spec needs for itself",
            hint=f"rename that `inputs` in {file.name}",
        )
    code = [statement for statement in used if not statement.is_import]
    drawing = [statement for statement in code if drawn_by in statement.binds]
    return Source(
        imports=tuple(sorted(set(_imports(used, names, file)))),
        definitions=_join(statement for statement in code if statement not in drawing),
        inputs=re.sub(rf"\b{drawn_by}\b", "inputs", _join(drawing)) if drawn_by else "",
        drawn_by=drawn_by,
    )


def only_function(text: str, name: str, file: Path) -> str:
    """The function of that name in a text or, if there is none, the only one there is.

    Raises:
        BadReference: the text isn't Python, or has no such function.
    """
    nodes = [statement.node for statement in _statements(text, file)]
    functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    public = [f for f in functions if not f.startswith("_") and not f.endswith("inputs")]
    if name in functions:
        return name
    if len(public) != 1:
        has = ", ".join(public) or "no function"
        raise BadReference(f"{file} has {has}", hint=f"give it one that is called {name}")
    return public[0]


def arrange(imports: Iterable[str]) -> str:
    """Import statements as a formatter leaves them: in blocks, sorted, one line per module."""
    lines: dict[tuple[int, bool, str, str], set[str]] = {}
    for statement in imports:
        for node in ast.parse(statement).body:
            assert isinstance(node, ast.Import | ast.ImportFrom)
            named = isinstance(node, ast.ImportFrom)
            for alias in node.names:
                module = (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
                # A renamed import keeps a line of its own.
                renamed = ast.unparse(alias) if alias.asname else ""
                key = (_block(module), named, module, renamed)
                lines.setdefault(key, set()).add(ast.unparse(alias))
    blocks: dict[int, list[str]] = {}
    for (block, named, module, _), names in sorted(lines.items()):
        listed = ", ".join(sorted(names, key=lambda name: (not name[0].isupper(), name)))
        line = f"from {module} import {listed}" if named else f"import {listed}"
        blocks.setdefault(block, []).append(line)
    return "\n\n".join("\n".join(block) for block in blocks.values())


def _block(module: str) -> int:
    """Where a module's import stands: future, standard library, other packages, our own."""
    root = module.split(".")[0]
    if root == "__future__":
        return 0
    return 1 if root in sys.stdlib_module_names else 3 if root.startswith("workbench") else 2


@dataclass(frozen=True, eq=False)
class _Statement:
    """One top-level statement: its node, and its text with decorators and the comment above it."""

    node: ast.stmt
    text: str

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, ast.Import | ast.ImportFrom)

    @cached_property
    def _table(self) -> symtable.SymbolTable:
        return symtable.symtable(self.text, "<statement>", "exec")

    @cached_property
    def binds(self) -> frozenset[str]:
        """The module's names it gives a value."""
        if isinstance(self.node, ast.Import | ast.ImportFrom):
            return frozenset(map(_bound_by, self.node.names))
        symbols = self._table.get_symbols()
        return frozenset(s.get_name() for s in symbols if s.is_assigned() or s.is_imported())

    @cached_property
    def needs(self) -> frozenset[str]:
        """The module's names it uses, in whatever depth of nested functions."""
        return frozenset() if self.is_import else frozenset(_global_names(self._table))


def _bound_by(alias: ast.alias) -> str:
    return alias.asname or alias.name.split(".")[0]


def _global_names(table: symtable.SymbolTable) -> Iterator[str]:
    at_module = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (at_module or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _global_names(child)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadReference(
            f"there is no file {file}", hint="a reference is given as FILE.py:FUNCTION"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadReference(f"{file} can't be read: {error}") from error


def _statements(text: str, file: Path) -> Iterator[_Statement]:
    """The top-level statements a reference could need; not what only a script run would execute."""
    try:
        compile(text, str(file), "exec", dont_inherit=True)
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        reason = getattr(error, "msg", error)
        raise BadReference(f"{file}:{line} isn't valid Python: {reason}") from error
    lines = text.split("\n")
    for node in body:
        if not (_is_main_guard(node) or _is_future(node)):
            yield _Statement(node, _verbatim(node, lines))


def _verbatim(node: ast.stmt, lines: Sequence[str]) -> str:
    assert node.end_lineno and node.end_col_offset is not None
    after = lines[node.end_lineno - 1].encode()[node.end_col_offset :]
    if node.col_offset or after.lstrip().startswith(b";"):
        return ast.unparse(node)  # it shares a line with another statement
    start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return "\n".join(lines[start : node.end_lineno])


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _closure(
    statements: Sequence[_Statement], roots: Iterable[str]
) -> tuple[set[str], list[_Statement]]:
    """The names `roots` need, themselves included, and the statements that bind them."""
    names: set[str] = set()
    used: set[_Statement] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name not in names:
            names.add(name)
            binding = {statement for statement in statements if name in statement.binds} - used
            used |= binding
            todo.extend(need for statement in binding for need in statement.needs)
    if names - _GIVEN - {name for statement in used for name in statement.binds}:
        used |= {statement for statement in statements if "*" in statement.binds}
    return names, [statement for statement in statements if statement in used]


def _imports(used: Iterable[_Statement], names: set[str], file: Path) -> Iterator[str]:
    """The imports among `used`, one line for each name in `names`."""
    for statement in used:
        for node in ast.walk(statement.node):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            top_level = node is statement.node
            wanted = [a for a in node.names if not top_level or _bound_by(a) in {*names, "*"}]
            for alias in wanted:
                _refuse_foreign(node, alias, file)
                if top_level:
                    yield ast.unparse(_only(node, alias))


def _only(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(node, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(node.module, [alias], node.level)


def _refuse_foreign(node: ast.Import | ast.ImportFrom, alias: ast.alias, file: Path) -> None:
    where = f"{file}:{node.lineno}"
    if isinstance(node, ast.ImportFrom) and node.level:
        raise BadReference(
            f"{where}: the reference imports relative to its package", hint=_SELF_CONTAINED
        )
    module = node.module if isinstance(node, ast.ImportFrom) else alias.name
    root = (module or "").split(".")[0]
    if root == "torch" or root in sys.stdlib_module_names:
        return
    beside = (file.parent / f"{root}.py").is_file() or (file.parent / root).is_dir()
    what = "another file beside it" if beside else "another package"
    raise BadReference(f"{where}: the reference imports {root}, {what}", hint=_SELF_CONTAINED)


def _join(statements: Iterable[_Statement]) -> str:
    return "\n\n\n".join(dict.fromkeys(statement.text for statement in statements))


def _nearest(name: str, bound: Iterable[str]) -> str:
    public = sorted(n for n in bound if n.isidentifier())
    near = difflib.get_close_matches(name, public, n=3, cutoff=0.5) or public[:8]
    return f"it has {', '.join(near)}" if near else "the file defines nothing"
