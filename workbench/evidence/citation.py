"""A citation: which value of which record a number is.

It stands right behind the number, as a comment that a reader of the page does not see:

    0.91<!--=3f2a91c0d4e7/data/checks/3/forward_error-->

After the record's id, or how it begins, follows the path to a value, as a JSON pointer has it. A
step `*` takes every item of a list, `[status=failed]` and `[name!=own tests]` some of them. A
word in front says what is made of all that were found: `len:`, `sum:`, `max:`, `min:`, and
`percent:` for a share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import (
    MAX_EMAX,
    MAX_PREC,
    MIN_EMIN,
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
)
from typing import Any

SHORT = 12
COMMENT = re.compile(r"<!--=(.*?)-->")
_CITATION = re.compile(
    rf"(?:(?P<function>[a-z]+):)?(?P<record>[0-9a-f]{{{SHORT},64}})/(?P<path>.+)"
)
_SELECTOR = re.compile(r"\[(?P<key>\w+)(?P<sign>!?=)(?P<value>.*)\]")
_FUNCTIONS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "len": len,
    "sum": lambda values: sum(map(_decimal, values), Decimal(0)),
    "max": lambda values: max(map(_decimal, _some(values))),
    "min": lambda values: min(map(_decimal, _some(values))),
    "percent": lambda values: 100 * _decimal(_only(values)),
}

_BOUNDS = {"<=": ROUND_CEILING, ">=": ROUND_FLOOR}
_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX)


@dataclass(frozen=True)
class Citation:
    """`record` is an id or how it begins; the steps of the `path` are not escaped."""

    record: str
    path: tuple[str, ...]
    function: str = ""

    @classmethod
    def parse(cls, text: str) -> Citation:
        """What stands between `<!--=` and `-->`.

        Raises:
            ValueError: it is no citation.
        """
        match = _CITATION.fullmatch(text)
        if match is None:
            raise ValueError(f"a citation reads <!--={'id' * 6}/data/checks/0/cases-->")
        function = match["function"] or ""
        if function and function not in _FUNCTIONS:
            known = ", ".join(f"{name}:" for name in _FUNCTIONS)
            raise ValueError(f"there is no {function}: in a citation; there are {known}")
        steps = [step.replace("~1", "/").replace("~0", "~") for step in match["path"].split("/")]
        return cls(match["record"], tuple(steps), function)

    def __str__(self) -> str:
        steps = [step.replace("~", "~0").replace("/", "~1") for step in self.path]
        function = f"{self.function}:" if self.function else ""
        return f"<!--={function}{self.record[:SHORT]}/{'/'.join(steps)}-->"

    def look_up(self, record: Mapping[str, Any]) -> Any:
        """What the record says: a string, a number (a Decimal where it was computed), a list ...

        Raises:
            LookupError: it says nothing there.
        """
        found, several = [record], False
        for step in self.path:
            if step == "*" or _SELECTOR.fullmatch(step):
                several = True
            found = [inner for value in found for inner in _step(value, step)]
        if not self.function:
            return _only(found)  # with an empty path, the record itself
        if not several and len(found) == 1 and isinstance(found[0], list):
            found = found[0]
        # What was not measured is no number, and no zero either.
        return _FUNCTIONS[self.function]([value for value in found if value is not None])


def says(value: object, token: Decimal, quantum: Decimal, bound: str) -> bool:
    """Whether `token`, printed in steps of `quantum`, is what a recorded value rounds to.

    An upper `bound` ("<=") is rounded up and a lower one (">=") down: they must be true.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    exact = _decimal(value)
    if bound:
        return _rounded(exact, quantum, _BOUNDS[bound]) == token
    # The shortest decimals of a float and its binary digits may lie on two sides of a half.
    ways = ((v, way) for v in (exact, Decimal(value)) for way in (ROUND_HALF_EVEN, ROUND_HALF_UP))
    return any(_rounded(v, quantum, way) == token for v, way in ways)


def rounded(value: float | Decimal, decimals: int, bound: str = "") -> str:
    """A value as it is printed, a bound rounded to the side on which it is true."""
    way = _BOUNDS.get(bound, ROUND_HALF_EVEN)
    return f"{_rounded(_decimal(value), Decimal(f'1e{-decimals}'), way):f}"


def _rounded(value: Decimal, quantum: Decimal, way: str) -> Decimal:
    return value.quantize(quantum, rounding=way, context=_EXACT)


def _decimal(value: Any) -> Decimal:
    """The number exactly as it is recorded."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise LookupError(f"{str(value)[:40]!r} is no number")
    return Decimal(repr(value) if isinstance(value, float) else value)


def _only(values: Sequence[Any]) -> Any:
    if len(values) != 1:
        raise LookupError(f"it is about {len(values)} values: say len:, sum:, max: or min:")
    return values[0]


def _some(values: Sequence[Any]) -> Sequence[Any]:
    if not values:
        raise LookupError("it is about no value")
    return values


def _step(value: Any, step: str) -> list[Any]:
    """What one step finds in one value."""
    if isinstance(value, list) and step == "*":
        return value
    if isinstance(value, list) and (match := _SELECTOR.fullmatch(step)):
        wanted = match["sign"] == "="
        return [
            item
            for item in value
            if isinstance(item, dict) and (str(item.get(match["key"])) == match["value"]) is wanted
        ]
    if isinstance(value, list) and re.fullmatch("[0-9]{1,9}", step) and int(step) < len(value):
        return [value[int(step)]]
    if isinstance(value, dict) and step in value:
        return [value[step]]
    raise LookupError(f"the record has no {step!r} there")
