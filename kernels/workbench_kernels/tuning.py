"""How an op says with what its kernels are launched: literals in its kernel.py.

    FORWARD = ByWidth({"elements": 1024, "per_thread": 16}, {8192: {"per_thread": 32}})
    BACKWARD = Fixed({"elements": 2048, "per_thread": 16})

By convention FORWARD governs the forward's kernels and BACKWARD the backward's. A literal can be
read without running the op, and rewritten: so a tuner finds what there is to try, and leaves what
it found where a reviewer sees it. Best below the kernels: Triton compiles one anew if its line has
moved. `launch` makes tiles and launches of the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Of registers: as many as a thread can have. The compiler takes fewer unless it is told a number.
NO_LIMIT = 255
# What may be tried of each parameter that means the same for every op, what is usually good first.
CHOICES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        # Elements a program holds; a row that is reduced is held whole.
        "elements": (1024, 2048, 4096, 512, 8192, 256, 16384, 32768),
        # Elements a thread holds: they decide the warps, elements / (32 · per_thread).
        "per_thread": (16, 8, 32, 4, 64, 40),
        # Steps ahead a loop loads.
        "stages": (3, 2, 1, 4),
        # Warps per multiprocessor that programs which loop are started for.
        "resident": (16, 32, 8, 12, 64, 4),
        # Most registers a thread may have: with fewer of them more warps fit.
        "registers": (NO_LIMIT, 128, 96, 80, 64),
        # Most columns a program has, where nothing is reduced along a row.
        "columns": (1024, 512, 2048, 256, 4096, 128),
    }
)

_NOTHING: Mapping[str, tuple[int, ...]] = MappingProxyType({})
_UNCHANGED: Mapping[int, Mapping[str, int]] = MappingProxyType({})
_POWERS = 63  # a size is an int64


class Fixed:
    """Parameters that are the same at every size.

    `choices` says what may be tried of parameters that only this op has.

    Raises:
        ValueError: a value that is no positive integer, or a parameter without choices.
    """

    def __init__(
        self, parameters: Mapping[str, int], choices: Mapping[str, tuple[int, ...]] = _NOTHING
    ) -> None:
        self.choices = _choices(parameters, choices)
        _check(parameters)
        self._parameters = MappingProxyType(dict(parameters))

    def at(self, n_cols: int) -> Mapping[str, int]:
        """The parameters for rows of `n_cols` columns."""
        return self._parameters


class ByWidth:
    """Parameters by the width of a row, rounded up to a power of two.

    `start` has every parameter; from each width in `at` on, some have another value, so that
    changes add up from narrow to wide. `choices` says what may be tried of parameters that only
    this op has.

    Raises:
        ValueError: a value that is no positive integer, a width that is no power of two, a change
            of what `start` lacks, or a parameter without choices.
    """

    def __init__(
        self,
        start: Mapping[str, int],
        at: Mapping[int, Mapping[str, int]] = _UNCHANGED,
        choices: Mapping[str, tuple[int, ...]] = _NOTHING,
    ) -> None:
        self.choices = _choices(start, choices)
        _check(start)
        for width, changed in at.items():
            if not _is_positive(width) or width & (width - 1):
                raise ValueError(f"parameters change at {width!r}, which is no power of two")
            if unknown := changed.keys() - start.keys():
                raise ValueError(
                    f"{', '.join(sorted(unknown))} changes at {width} but has no value to start "
                    f"with; the parameters are {', '.join(start)}"
                )
            _check(changed)
        current = MappingProxyType(dict(start))
        # Of each power of two: a launch has no time to add changes up.
        self._by_power = tuple(
            current := MappingProxyType({**current, **at[1 << power]})
            if 1 << power in at
            else current
            for power in range(_POWERS + 1)
        )

    def at(self, n_cols: int) -> Mapping[str, int]:
        """The parameters for rows of `n_cols` columns."""
        return self._by_power[(n_cols - 1).bit_length()]


Table = Fixed | ByWidth


def _choices(
    parameters: Mapping[str, int], own: Mapping[str, tuple[int, ...]]
) -> Mapping[str, tuple[int, ...]]:
    """What may be tried of each parameter."""
    known = {**CHOICES, **own}
    for name in parameters:
        if not known.get(name):
            raise ValueError(
                f"nothing says what may be tried of {name!r}; add choices={{{name!r}: (…)}}, or "
                f"take one of {', '.join(CHOICES)}"
            )
    return MappingProxyType({name: tuple(known[name]) for name in parameters})


def _check(parameters: Mapping[str, int]) -> None:
    for name, value in parameters.items():
        if not _is_positive(value):
            raise ValueError(f"{name} is {value!r}; it must be a positive integer")


def _is_positive(value: object) -> bool:
    return type(value) is int and value > 0
