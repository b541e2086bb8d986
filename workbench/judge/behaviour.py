"""The checks of behaviour: what a call does to memory, and whether it does the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from workbench.judge.candidate import Candidate
from workbench.judge.memory import same_bits, share_memory, uninitialised_is_nan
from workbench.judge.trial import Skip, Trial, Wrong
from workbench_kernels.bound import Comparison, compare
from workbench_kernels.testing import LAYOUTS, draw, small_shape
from workbench_kernels.truth import Expected

# Elements from which on a 32-bit offset wraps around.
LARGE = 2**31
# The size that gets there: copies of a few rows, so that the truth of the few is the truth of all.
WIDE, FEW = 4096, 8


@dataclass(frozen=True)
class Behaviour:
    """Each method is one check: it yields its trials. `seed` fixes every value that is drawn."""

    op: Candidate
    seed: int

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The checks by name, in the order they run."""
        return {
            "inputs unchanged": partial(self._every_dtype, self._unchanged),
            "repeatable": partial(self._every_dtype, self._repeatable),
            "no stale results": partial(self._every_dtype, self._fresh),
            "poisoned memory": partial(self._every_dtype, self._poisoned),
            "large offsets": self.large_offsets,
        }

    def large_offsets(self) -> Iterator[Trial]:
        """More elements than a 32-bit offset reaches, in the smallest dtype."""
        yield Trial(f"> {LARGE} elements", self._large_offsets)

    def _every_dtype(self, attempt: Callable[[torch.dtype], list[Comparison]]) -> Iterator[Trial]:
        for dtype in self.op.spec.dtypes:
            yield Trial(str(dtype).removeprefix("torch."), partial(attempt, dtype))

    def _prepare(self, dtype: torch.dtype) -> tuple[tuple[Tensor, ...], Expected]:
        inputs = draw(self.op.spec, *small_shape(self.op.spec), dtype, self.seed)
        return inputs, self.op.expect(inputs, seed=self.seed)

    def _unchanged(self, dtype: torch.dtype) -> list[Comparison]:
        inputs, expected = self._prepare(dtype)
        watched = dict(zip(self.op.spec.tensors, inputs, strict=True))
        watched |= {f"upstream {i}": t for i, t in enumerate(expected.upstream) if t is not None}
        before = {name: t.clone() for name, t in watched.items()}
        self.op.run(inputs, expected)
        for name, t in watched.items():
            if not same_bits(t, before[name]):
                raise Wrong(f"{name} is changed by the call")
        return []

    def _repeatable(self, dtype: torch.dtype) -> list[Comparison]:
        inputs, expected = self._prepare(dtype)
        first, second = self.op.run(inputs, expected), self.op.run(inputs, expected)
        _must_equal(second, first, "differs from call to call")
        return []

    def _fresh(self, dtype: torch.dtype) -> list[Comparison]:
        """Other values in the same memory give other results, and leave the earlier ones alone."""
        inputs, expected = self._prepare(dtype)
        first = self.op.run(inputs, expected)
        kept = {name: t.clone() for name, t in first.items()}
        others = draw(self.op.spec, *small_shape(self.op.spec), dtype, self.seed + 1)
        for t, other in zip(inputs, others, strict=True):
            t.copy_(other)
        expected = self.op.expect(inputs, seed=self.seed + 1)
        second = self.op.run(inputs, expected)
        _must_equal(first, kept, "of an earlier call is overwritten by a later one")
        for name, y in second.items():
            if name.startswith("y") and any(share_memory(x, y) for x in inputs):
                raise Wrong(f"{name} is the memory of an input")
        return compare(second, expected)

    def _poisoned(self, dtype: torch.dtype) -> list[Comparison]:
        inputs = draw(self.op.spec, *small_shape(self.op.spec), dtype, self.seed)
        inputs = tuple(LAYOUTS["slice_of_wider_rows"](t) for t in inputs)
        expected = self.op.expect(inputs, seed=self.seed)
        with uninitialised_is_nan():
            got = self.op.run(inputs, expected)
        return compare(got, expected)

    def _large_offsets(self) -> list[Comparison]:
        dtype = min(self.op.spec.dtypes, key=lambda d: d.itemsize)
        rows = LARGE // WIDE + FEW
        _require_memory((3 * len(self.op.spec.tensors) + 4) * rows * WIDE * dtype.itemsize)
        return self.repeated(rows, WIDE, dtype)

    def repeated(self, rows: int, cols: int, dtype: torch.dtype) -> list[Comparison]:
        """A few rows over and over; the last of them against the truth of the few.

        Sums over all rows have another truth, and are left out.
        """
        few = draw(self.op.spec, FEW, cols, dtype, self.seed)
        expected = self.op.expect(few, seed=self.seed)
        sent = tuple(None if dy is None else _repeat(dy, rows) for dy in expected.upstream)
        inputs = [_repeat(t, rows) for t in few]
        got = self.op.run(inputs, replace(expected, upstream=sent))
        last = {name: t[-FEW:] for name, t in got.items() if t.shape[:1] == (rows,)}
        return compare(last, replace(expected, eager={n: expected.eager[n] for n in last}))


def _require_memory(needed: int) -> None:
    if not torch.cuda.is_available():
        raise Skip("needs a GPU")
    free, _ = torch.cuda.mem_get_info()
    if free < needed:
        raise Skip(f"needs {needed / 2**30:.0f} GiB of GPU memory, {free / 2**30:.0f} are free")


def _repeat(t: Tensor, rows: int) -> Tensor:
    by_rows = t.ndim > 0 and t.shape[0] == FEW
    return t.repeat(rows // FEW, *[1] * (t.ndim - 1)) if by_rows else t


def _must_equal(got: dict[str, Tensor], before: dict[str, Tensor], what: str) -> None:
    for name, value in before.items():
        if not same_bits(got[name], value):
            raise Wrong(f"{name} {what}")
