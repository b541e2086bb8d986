"""Write an arithmetic graph as the formulas a kernel's docstring opens with."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from workbench.authors.emit import ATOM, COMPARISON, PRODUCT, SUM, UNARY, Text, Writer, infix
from workbench.graph import Graph, Value, public

LINE = 92
_CALLS = {
    "sigmoid": "σ",
    "abs": "abs",
    "maximum": "max",
    "minimum": "min",
    "square": "square",
    "pow": "pow",
}
_FORMS: dict[str, Callable[..., Text]] = {
    "square": lambda x: Text(f"{x.within(ATOM)}²"),
    "sqrt": lambda x: Text(f"√{x.within(ATOM)}", UNARY),
    "rsqrt": lambda x: Text(f"1/√{x.within(ATOM)}", PRODUCT),
    "neg": lambda x: Text(f"−{x.within(UNARY)}", UNARY),
    "abs": lambda x: Text(f"|{x.text}|"),
    "where": lambda c, a, b: Text(f"({a.text} if {c.text} else {b.text})"),
    "logical_and": lambda a, b: Text(
        f"{a.within(COMPARISON)} and {b.within(COMPARISON)}", COMPARISON
    ),
    "logical_or": lambda a, b: Text(
        f"{a.within(COMPARISON)} or {b.within(COMPARISON)}", COMPARISON
    ),
    "logical_not": lambda x: Text(f"not {x.within(ATOM)}", UNARY),
    "to_float": lambda x: Text(f"[{x.text}]"),
    "broadcast": lambda x: x,
    "row_sum": lambda x: Text(f"Σⱼ {x.within(PRODUCT)}", SUM),
    "row_max": lambda x: Text(f"maxⱼ {x.within(PRODUCT)}", SUM),
    "row_min": lambda x: Text(f"minⱼ {x.within(PRODUCT)}", SUM),
    "batch_sum": lambda x: Text(f"Σᵢ {x.within(PRODUCT)}", SUM),
}
_SIGNS = {"*": "·", "-": "−", "<=": "≤", ">=": "≥", "!=": "≠", "==": "="}


class FormulaWriter(Writer):
    """Writes values as unicode mathematics; i runs over rows, j over the columns of a row."""

    def expression(self, value: Value) -> Text:
        args = self.arguments(value)
        if value.op == "constant":
            text = super().expression(value)
            return Text(_spell_numbers(text.text), text.level)
        if value.op in _FORMS:
            return _FORMS[value.op](*args)
        if value.op in ("add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge"):
            return infix(value, args[0], args[1], signs=_SIGNS)
        if value.op == "relu":
            return Text(f"max(0, {args[0].text})")
        return Text(f"{_CALLS.get(value.op, value.op)}({', '.join(a.text for a in args)})")


def _spell_numbers(text: str) -> str:
    """`2.0` as 2, `0.7978845608` as 0.797885, sizes as C and R."""
    text = re.sub(r"tl\.cast\((.*), tl\.float32\)", r"(\1)", text)
    text = re.sub(r"\d+\.\d+(e[+-]?\d+)?", lambda m: f"{float(m.group()):.6g}", text)
    text = text.replace('float("inf")', "∞").replace('float("-inf")', "−∞").replace("tl.sqrt", "√")
    return (
        text.replace("n_cols", "C").replace("n_rows", "R").replace(" * ", " · ").replace("-", "−")
    )


def formulas(graph: Graph) -> list[str]:
    """One line per named value and result, aligned at the equals sign."""
    names = {
        id(value): name for name, value in reversed(graph.results.items()) if value.op != "input"
    }
    writer = FormulaWriter(names=names, taken={value.name for value in graph.inputs})
    for value in graph.inputs:
        writer.bind(value, public(value.name))
    writer.write(graph.results.values())
    pairs = [line.split(" = ", 1) for line in writer.lines]
    width = max((len(name) for name, _ in pairs), default=0)
    hanging = " " * (width + 3)
    return [
        line
        for name, text in pairs
        for line in textwrap.wrap(
            f"{name.ljust(width)} = {text}", LINE, subsequent_indent=hanging, break_long_words=False
        )
    ]
