"""Write an arithmetic graph as lines of text: as Triton for a kernel, as formulas for its
docstring.

A value gets a line and a name of its own when it is used more than once, is a reduction or a
result, or would make its user's line hard to read; everything else stands inline, with no more
parentheses than it needs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import sympy

from workbench.errors import AuthorError
from workbench.graph import Kind, Value, reachable

WIDTH = 64
ATOM, UNARY, PRODUCT, SUM, COMPARISON = 5, 4, 3, 2, 1

_INFIX = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "eq": ("==", COMPARISON),
    "ne": ("!=", COMPARISON),
    "lt": ("<", COMPARISON),
    "le": ("<=", COMPARISON),
    "gt": (">", COMPARISON),
    "ge": (">=", COMPARISON),
}
_PLAIN = "exp exp2 log log2 sqrt rsqrt sin cos abs floor ceil erf sigmoid".split()
_LIBRARY = (
    "tanh expm1 log1p log10 pow sinh cosh tan round trunc sign isnan isinf maximum minimum".split()
)
_CALLS = {op: f"tl.{op}" for op in _PLAIN} | {op: f"numerics.{op}" for op in _LIBRARY}
_NAMES = {
    "sigmoid": "sig",
    "square": "squared",
    "mul": "product",
    "add": "total",
    "sub": "diff",
    "div": "ratio",
    "where": "picked",
    "rsqrt": "rstd",
    "sqrt": "root",
    "neg": "negated",
    "maximum": "floored",
    "minimum": "capped",
    "abs": "size",
    "to_float": "flag",
    "pow": "power",
}


@dataclass(frozen=True)
class Text:
    """A piece of Triton and how tightly it binds."""

    text: str
    level: int = ATOM

    def within(self, level: int) -> str:
        return self.text if self.level >= level else f"({self.text})"


@dataclass
class Writer:
    """Writes values as Triton; `names` are those wanted for results, `taken` those that can't be
    used.
    """

    names: dict[int, str]
    taken: set[str]
    lines: list[str] = field(default_factory=list)
    texts: dict[int, Text] = field(default_factory=dict)
    _uses: Counter[int] = field(default_factory=Counter)

    def write(self, results: Iterable[Value]) -> None:
        """Append the lines that compute `results`; `text(value)` then gives each one's text."""
        results = list(results)
        values = list(reachable(results, known=self.texts))
        for value in values:
            self._uses.update(id(arg) for arg in value.args)
            if value.op == "square":
                self._uses[id(value.args[0])] += 1
        for value in values:
            self.texts[id(value)] = self._write(value)

    def text(self, value: Value) -> str:
        return self.texts[id(value)].text

    def bind(self, value: Value, name: str) -> None:
        """Say that `value` is already there, under `name`."""
        self.texts[id(value)] = Text(name)
        self.taken.add(name)

    def _write(self, value: Value) -> Text:
        text = self.expression(value)
        if value.op in ("constant", "broadcast") and id(value) not in self.names:
            return text
        wanted = self.names.get(id(value))
        named = wanted or value.is_reduction or self._uses[id(value)] > 1 or len(text.text) > WIDTH
        if not named or (text.level == ATOM and text.text.isidentifier() and not wanted):
            return text
        name = self._fresh(wanted or self._suggest(value))
        self.lines.append(f"{name} = {text.text}")
        return Text(name)

    def _suggest(self, value: Value) -> str:
        """A telling name: what a product is of, or what an operation makes."""
        factors = [arg.text for arg in self.arguments(value)]
        if value.op == "mul" and all(f.isidentifier() and len(f) <= 8 for f in factors):
            return "_".join(factors)
        return _suggest(value)

    def _fresh(self, base: str) -> str:
        name = next(
            n for i in range(1, 1000) if (n := base if i == 1 else f"{base}{i}") not in self.taken
        )
        self.taken.add(name)
        return name

    def arguments(self, value: Value) -> list[Text]:
        return [self.texts[id(arg)] for arg in value.args]

    def expression(self, value: Value) -> Text:
        """One operation on its arguments' texts."""
        args = self.arguments(value)
        if value.op == "constant":
            return scalar(value.expression)
        if value.op == "div" and value.args[0].op == "row_sum":
            # A mean: once per row it costs nothing, and its error would be in every element.
            return Text(f"numerics.divide({args[0].text}, {args[1].text})")
        if value.op in _INFIX:
            return infix(value, args[0], args[1])
        if value.op in _CALLS:
            return Text(f"{_CALLS[value.op]}({', '.join(a.text for a in args)})")
        if value.op in _FORMS:
            return _FORMS[value.op](*args)
        if value.op in ("row_sum", "row_max", "row_min"):
            return self._row_reduction(value, args[0])
        raise AuthorError(f"the draft author has no Triton for {value.op} (node {value.source})")

    @staticmethod
    def _row_reduction(value: Value, arg: Text) -> Text:
        return row_reduction(value, arg.text)


def row_reduction(value: Value, arg: str) -> Text:
    """A reduction of `arg`, the text of its argument, along the columns of a tile."""
    if value.op == "row_sum":
        text = arg if zero_outside(value.args[0], "cols") else f"tl.where(col_mask, {arg}, 0.0)"
        return Text(f"tl.sum({text}, axis=1, keep_dims=True)")
    limit, combine = (
        ('float("-inf")', "maximum") if value.op == "row_max" else ('float("inf")', "minimum")
    )
    masked = f"tl.where(col_mask, {arg}, {limit})"
    return Text(f"tl.reduce({masked}, 1, numerics.{combine}, keep_dims=True)")


def infix(value: Value, left: Text, right: Text, signs: Mapping[str, str] | None = None) -> Text:
    """`left sign right` with no more parentheses than needed; `signs` respells some signs."""
    sign, level = _INFIX[value.op]
    if value.op in ("add", "sub") and right.level == UNARY and right.text.startswith("-"):
        sign, right = ("-" if sign == "+" else "+"), Text(right.text[1:])
    # What stands right of - or / binds tighter than the sign; so does either side of a comparison.
    left_level = level + (level == COMPARISON)
    right_level = level + (sign in "-/" or level == COMPARISON)
    return Text(
        f"{left.within(left_level)} {(signs or {}).get(sign, sign)} {right.within(right_level)}",
        level,
    )


def _square(x: Text) -> Text:
    if not x.text.isidentifier():
        return Text(f"numerics.square({x.text})")
    return Text(f"{x.text} * {x.text}", PRODUCT)


_FORMS: dict[str, Callable[..., Text]] = {
    "square": _square,
    "neg": lambda x: Text(f"-{x.within(UNARY)}", UNARY),
    "where": lambda c, a, b: Text(f"tl.where({c.text}, {a.text}, {b.text})"),
    "relu": lambda x: Text(f"tl.where({x.within(SUM)} < 0.0, 0.0, {x.text})"),
    "to_float": lambda x: Text(f"{x.within(ATOM)}.to(tl.float32)"),
    "broadcast": lambda x: x,
    "logical_and": lambda a, b: Text(f"{a.within(ATOM)} & {b.within(ATOM)}", COMPARISON),
    "logical_or": lambda a, b: Text(f"{a.within(ATOM)} | {b.within(ATOM)}", COMPARISON),
    "logical_xor": lambda a, b: Text(f"{a.within(ATOM)} ^ {b.within(ATOM)}", COMPARISON),
    "logical_not": lambda x: Text(f"~{x.within(ATOM)}", UNARY),
}


def _suggest(value: Value) -> str:
    """A telling name for what an operation makes."""
    if value.op == "div" and value.args[0].op == "row_sum":
        return "mean_square" if value.args[0].args[0].op == "square" else "mean"
    if value.op == "sub" and value.args[1].kind is Kind.ROW and value.args[0].kind is Kind.ELEMENT:
        return "centred" if _suggest(value.args[1]).startswith("mean") else "shifted"
    return _NAMES.get(value.op, value.op)


def scalar(expression: sympy.Expr | None) -> Text:
    """A constant in Triton: numbers as floats, sizes and parameters by their names."""
    assert expression is not None
    if expression.is_number:
        return _number(float(expression))
    if expression.is_Add and all(symbol.is_integer for symbol in expression.free_symbols):
        return Text(str(expression), SUM)
    if expression.is_Symbol:
        return Text(str(expression))
    if expression.is_Add:
        first, *rest = expression.as_ordered_terms()
        text = scalar(first).within(SUM)
        for term in rest:
            negative = term.could_extract_minus_sign()
            text += (
                f" {'-' if negative else '+'} {scalar(-term if negative else term).within(PRODUCT)}"
            )
        return Text(text, SUM)
    numerator, denominator = expression.as_numer_denom()
    if denominator != 1:
        return Text(f"{scalar(numerator).within(PRODUCT)} / {_denominator(denominator)}", PRODUCT)
    if expression.is_Mul:
        coefficient, rest = expression.as_coeff_Mul()
        if coefficient == -1:
            return Text(f"-{scalar(rest).within(UNARY)}", UNARY)
        return Text(
            " * ".join(scalar(arg).within(UNARY) for arg in expression.as_ordered_factors()),
            PRODUCT,
        )
    if expression.is_Pow:
        return _power(*expression.as_base_exp())
    raise AuthorError(f"the draft author can't write the constant {expression} in Triton")


def _denominator(expression: sympy.Expr) -> str:
    # `n_cols - 1` may be zero; as a Triton value that gives infinity, as a Python number an
    # exception.
    if expression.is_Add and expression.free_symbols <= {
        s for s in expression.free_symbols if s.is_integer
    }:
        return f"tl.cast({scalar(expression).text}, tl.float32)"
    return scalar(expression).within(UNARY)


def _power(base: sympy.Expr, exponent: sympy.Expr) -> Text:
    inner = scalar(base)
    if exponent == sympy.Rational(1, 2):
        return Text(f"tl.sqrt(tl.cast({inner.text}, tl.float32))")
    if exponent.is_Integer and 1 < exponent <= 4:
        return Text(" * ".join([inner.within(UNARY)] * int(exponent)), PRODUCT)
    raise AuthorError(f"the draft author can't write the constant {base**exponent} in Triton")


def _number(value: float) -> Text:
    if math.isinf(value) or math.isnan(value):
        return Text(f'float("{value}")')
    return Text(repr(value), ATOM if value >= 0 else UNARY)


def zero_outside(value: Value, lanes: str) -> bool:
    """Whether a value is zero on the lanes past the end (`cols` or `rows`), so that a sum needs no
    mask.

    Loads fill those lanes with zeros. A product with a zero is zero if the other factor is finite
    there.
    """
    if value.op == "input":
        return value.kind is Kind.ELEMENT or value.kind is (
            Kind.COLUMN if lanes == "cols" else Kind.ROW
        )
    if value.op in ("square", "neg", "relu", "broadcast", "to_float"):
        return zero_outside(value.args[0], lanes)
    if value.op in ("add", "sub"):
        return all(zero_outside(arg, lanes) for arg in value.args)
    if value.op == "mul":
        return any(
            zero_outside(a, lanes) and _finite_outside(b, lanes)
            for a, b in (value.args, value.args[::-1])
        )
    return False


_STAYS_FINITE = frozenset(
    "constant add sub mul neg square relu broadcast to_float sigmoid tanh erf".split()
)


def _finite_outside(value: Value, lanes: str) -> bool:
    """Whether a value is surely finite past the end: made of zeros loaded there, and constants."""
    if value.op == "input":
        return zero_outside(value, lanes)
    return value.op in _STAYS_FINITE and all(_finite_outside(arg, lanes) for arg in value.args)
