"""Inputs that break kernels."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workbench.judge.op import Op
from workbench_kernels.spec import OpSpec
from workbench_kernels.testing import small_shape
from workbench_kernels.truth import Expected

# More inputs than this, and gradients are asked for one by one and all together only.
MOST_SUBSETS_OF = 4
# So many rows of so many columns are some hundred programs of any kernel, also of one that takes
# several rows at once; more of either would take the interpreter too long.
TALL, SOME = 1100, 129
# More elements than a grid of bounded size gets to where a program takes thousands of them.
PLENTY = (37, 8200)
# Rows as models have them, where kernels like to take another path.
POWERS = (2048, 4096, 8192)
UNEVEN = (768, 1280, 1536, 2560, 3072)
# Wider rows than these are not tried: the interpreter takes too long.
WIDEST = 32768
# How far from zero inputs are moved, so that their differences are small beside them.
FAR = 8.0
SPECIAL = (math.nan, math.inf, -math.inf)


def unseen_shapes(spec: OpSpec, seed: int) -> list[tuple[int, int]]:
    """Sizes the author was not shown: one element, row or column, powers of two and others;
    more rows than a grid of bounded size gets to; a wide power of two; a width of models that is
    none; any width; and the widest rows that are timed.
    """
    choose = random.Random(seed)
    cols = choose.sample([2, 3, 16, 17, 64, 65, 127, 255, 256, 511, 1024, 1025, 1537], 2)
    cols.append(choose.randint(SOME + 31, 1999))
    rows = [choose.randint(2, 9) for _ in cols]
    return [
        (1, 1),
        (choose.randint(2, 70), 1),
        (1, choose.randint(2, 99)),
        (choose.randint(TALL, TALL + 100), choose.randint(SOME, SOME + 31)),
        (2, choose.choice(POWERS)),
        (2, choose.choice(UNEVEN)),
        (2, min(WIDEST, max((cols for _, cols in spec.sweep), default=1))),
        *zip(rows, cols, strict=True),
    ]


def with_leading(
    op: Op, lead: tuple[int, ...], dtype: torch.dtype, seed: int
) -> tuple[Tensor, ...]:
    """Inputs whose rows are spread over the dimensions `lead`; () is one row, and no dimension."""
    rows, cols = math.prod(lead), small_shape(op.spec)[1]
    drawn = op.draw(rows, cols, dtype, seed)
    return tuple(
        t.reshape((*lead, *t.shape[1:])) if t.ndim and t.shape[0] == rows else t for t in drawn
    )


@dataclass(frozen=True)
class Planted:
    """Inputs of which one, `target`, has `value` at a few `places` (flat indices)."""

    inputs: tuple[Tensor, ...]
    target: str
    value: float
    places: Tensor
    shape: torch.Size

    def __str__(self) -> str:
        return f"{self.target}={self.value}"

    @property
    def is_nan(self) -> bool:
        return math.isnan(self.value)

    def copy_places(self, source: Tensor, destination: Tensor) -> Tensor:
        """`destination` with the values of `source` where `value` is in the target."""
        mixed = destination.clone(memory_format=torch.contiguous_format)
        mixed.view(-1)[self.places] = source.reshape(-1)[self.places]
        return mixed


def with_special(op: Op, dtype: torch.dtype, seed: int) -> Iterator[Planted]:
    """For each floating input and each of NaN, inf and -inf: inputs with it at three places."""
    drawn = op.draw(*small_shape(op.spec), dtype, seed)
    for index, value in itertools.product(range(len(op.spec.tensors)), SPECIAL):
        if drawn[index].is_floating_point():
            yield _planted(op, drawn, index, value, _some(drawn[index], seed))


def with_zeros(op: Op, dtype: torch.dtype, seed: int) -> Iterator[Planted]:
    """For each floating input: inputs with zeros at three places, and with a whole row of them."""
    drawn = op.draw(*small_shape(op.spec), dtype, seed)
    for index, target in enumerate(drawn):
        if not target.is_floating_point():
            continue
        some = _some(target, seed)
        row = range(target.shape[-1]) if target.ndim > 1 else some
        yield _planted(op, drawn, index, 0.0, some)
        yield _planted(op, drawn, index, 0.0, row, "a row of ")


def _some(target: Tensor, seed: int) -> list[int]:
    return random.Random(seed).sample(range(target.numel()), min(3, target.numel()))


def _planted(
    op: Op, drawn: Sequence[Tensor], index: int, value: float, chosen: Iterable[int], what: str = ""
) -> Planted:
    """Copies of what was drawn, of which one has `value` at the chosen places."""
    inputs = tuple(t.clone(memory_format=torch.contiguous_format) for t in drawn)
    places = torch.tensor([*chosen])
    inputs[index].view(-1)[places] = value
    return Planted(inputs, what + op.spec.tensors[index], value, places, inputs[index].shape)


def added(expected: Expected, one: str, other: str) -> Expected:
    """What is expected where two results are both their sum, if they are results at all."""

    def both(of: dict[str, Tensor]) -> dict[str, Tensor]:
        return of | dict.fromkeys((one, other), of[one] + of[other]) if one in of else of

    return replace(
        expected,
        eager=both(expected.eager),
        truth=both(expected.truth),
        find_worst=lambda: both(expected.worst_error),
    )


def scaled(inputs: Sequence[Tensor], scale: float) -> list[Tensor]:
    """The inputs times a number."""
    return [t * scale if t.is_floating_point() else t for t in inputs]


def magnitudes(op: Op, dtype: torch.dtype, seed: int) -> Iterator[tuple[str, list[Tensor]]]:
    """Inputs scaled until products overflow and vanish, as far as the dtype holds the scale; a few
    times what the spec draws, where functions saturate; with the other sign; and far from zero,
    where what is summed in one pass cancels.
    """
    few = random.Random(seed).uniform(4.0, 10.0)
    far = [1e-4, 1e4] if dtype is torch.float16 else [1e-6, 1e-3, 1e3, 1e6]
    drawn = op.draw(*small_shape(op.spec), dtype, seed)
    for scale in (*far, few, -1.0):
        yield f"{scale:g}", scaled(drawn, scale)
    yield "far from zero", [t + FAR if t.is_floating_point() and t.ndim > 1 else t for t in drawn]


def gradient_subsets(spec: OpSpec) -> list[tuple[str, ...]]:
    """Which inputs may want a gradient: every subset, none included, of a few inputs."""
    names = spec.differentiable
    if len(names) > MOST_SUBSETS_OF:
        return [(), *((name,) for name in names), names]
    sizes = range(len(names) + 1)
    return [subset for size in sizes for subset in itertools.combinations(names, size)]
