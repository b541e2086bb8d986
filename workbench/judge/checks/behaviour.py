"""The checks of behaviour: what a call does to memory, and whether it does the same every time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workbench import locks
from workbench.channel import dtype_name
from workbench.judge.checks.cases import TALL
from workbench.judge.memory import same_bits
from workbench.judge.op import Op
from workbench.judge.remote import Raised
from workbench.judge.repeated import last_rows, times
from workbench.judge.trial import Skip, Trial, Wrong
from workbench_kernels.bound import Comparison, compare
from workbench_kernels.testing import LAYOUTS, small_shape
from workbench_kernels.truth import Expected

# Elements from which on a 32-bit offset wraps around.
LARGE = 2**31
# The size that gets there: copies of a few rows, so that the truth of the few is the truth of all.
WIDE, FEW = 4096, 8
# In PyTorch's words for a saved tensor that was changed since, or a view of one.
_COUNTED = "inplace"
# Columns of the inputs with many rows.
MANY = 8


@dataclass(frozen=True)
class Behaviour:
    """Each method is one check: it yields its trials. `seed` fixes every value that is drawn.

    `free` says how many bytes of memory the op's GPU has free, 0 without one.
    """

    op: Op
    seed: int
    free: Callable[[], int] = lambda: 0

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The checks by name, in the order they run: the last looks back over all calls."""
        return {
            "inputs unchanged": partial(self._every_dtype, self._unchanged),
            "no stale results": self.fresh,
            "poisoned memory": partial(self._every_dtype, self._poisoned),
            "large offsets": self.large_offsets,
            "repeatable": self.repeatable,
        }

    def repeatable(self) -> Iterator[Trial]:
        """The same bits every time; also of so many rows that programs could get in each other's
        way.
        """
        yield from self._every_dtype(self._repeatable)
        yield Trial("many rows", partial(self._repeatable, self.op.spec.dtypes[0], (TALL, MANY)))

    def fresh(self) -> Iterator[Trial]:
        """Nothing of an earlier call comes back; and what is changed between the forward and the
        backward, where autograd counts it, gives an error or the gradient it gave before.
        """
        yield from self._every_dtype(self._fresh)
        if self.op.spec.differentiable and not self.op.spec.mutates:
            for changed in ("inputs", "outputs"):
                label = f"{changed} changed before the backward"
                yield Trial(label, partial(self._changed_between, changed))

    def large_offsets(self) -> Iterator[Trial]:
        """More elements than a 32-bit offset reaches, in the smallest dtype."""
        yield Trial(f"> {LARGE} elements", self._large_offsets)

    def _every_dtype(self, attempt: Callable[[torch.dtype], list[Comparison]]) -> Iterator[Trial]:
        for dtype in self.op.spec.dtypes:
            yield Trial(dtype_name(dtype), partial(attempt, dtype))

    def _prepare(
        self, dtype: torch.dtype, shape: tuple[int, int] | None = None
    ) -> tuple[tuple[Tensor, ...], Expected]:
        inputs = self.op.draw(*(shape or small_shape(self.op.spec)), dtype, self.seed)
        return inputs, self.op.expect(inputs, seed=self.seed)

    def _unchanged(self, dtype: torch.dtype) -> list[Comparison]:
        inputs, expected = self._prepare(dtype)
        handles, upstream = self.op.put(inputs), self.op.send(expected)
        called = self.op.call(handles, expected, inputs_back=True, upstream=upstream)
        sent = [dy for dy in expected.upstream if dy is not None]
        after_sent = self.op.read([handle for handle in upstream if handle is not None])
        after = dict(
            zip(self.op.spec.tensors, zip(inputs, called.inputs, strict=True), strict=True)
        )
        after |= {
            f"upstream {i}": pair for i, pair in enumerate(zip(sent, after_sent, strict=True))
        }
        self.op.drop([*handles, *upstream])
        for name, (before, now) in after.items():
            if name not in self.op.spec.mutates and not same_bits(before, now):
                raise Wrong(f"{name} is changed by the call")
        return []

    def _repeatable(
        self, dtype: torch.dtype, shape: tuple[int, int] | None = None
    ) -> list[Comparison]:
        inputs, expected = self._prepare(dtype, shape)
        first, second = self.op.run(inputs, expected), self.op.run(inputs, expected)
        _must_equal(second, first, "differs from call to call")
        return compare(second, expected)

    def _fresh(self, dtype: torch.dtype) -> list[Comparison]:
        """Other values in the same memory give other results, and leave the earlier ones alone."""
        inputs, expected = self._prepare(dtype)
        handles = self.op.put(inputs)
        first = self.op.call(handles, expected, keep=True)
        for (name, y), alias in zip(first.results.items(), first.facts.aliases, strict=False):
            if alias and y.numel() and not self.op.spec.mutates:
                raise Wrong(f"{name} is the memory of an input")
        others = self.op.draw(*small_shape(self.op.spec), dtype, self.seed + 1)
        comparisons = self._interleaved([inputs, others])
        comparisons += self._again(handles, others)
        comparisons += self._again(handles, _exchanged(others, self.seed))
        kept = self.op.read(first.facts.kept)
        if not self.op.spec.mutates:  # then its result may be its input's memory
            _must_equal(
                dict(zip(first.results, kept, strict=True)),
                first.results,
                "of an earlier call is overwritten by a later one",
            )
        self.op.drop([*handles, *first.facts.kept])
        return comparisons

    def _interleaved(self, several: Sequence[Sequence[Tensor]]) -> list[Comparison]:
        """Calls under way at once don't see each other."""
        if not self.op.spec.differentiable or self.op.spec.mutates:
            return []
        expected = [self.op.expect(inputs, seed=self.seed) for inputs in several]
        given = self.op.interleave(several, expected)
        return [
            comparison
            for gradients, one in zip(given, expected, strict=True)
            for comparison in compare(gradients, one)
            if comparison.name.startswith("d")
        ]

    def _changed_between(self, changed: str) -> list[Comparison]:
        inputs, expected = self._prepare(self.op.spec.dtypes[0])
        try:
            got = self.op.change(inputs, expected, changed)
        except Raised as refusal:
            if _COUNTED not in refusal.message:
                raise
            return []
        return [c for c in compare(got, expected) if c.name.startswith("d")]

    def _again(self, handles: Sequence[int], values: Sequence[Tensor]) -> list[Comparison]:
        self.op.write(handles, values)
        expected = self.op.expect(values, seed=self.seed + 1)
        return compare(self.op.call(handles, expected).results, expected)

    def _poisoned(self, dtype: torch.dtype) -> list[Comparison]:
        inputs = self.op.draw(*small_shape(self.op.spec), dtype, self.seed)
        inputs = tuple(LAYOUTS["slice_of_wider_rows"](t) for t in inputs)
        expected = self.op.expect(inputs, seed=self.seed)
        return compare(self.op.run(inputs, expected, poison=True), expected)

    def _large_offsets(self) -> list[Comparison]:
        if not self.free():
            raise Skip("needs a GPU")
        with locks.hold("large-offsets"):  # it takes most of a GPU's memory
            return self._beyond_32_bits()

    def _beyond_32_bits(self) -> list[Comparison]:
        dtype = min(self.op.spec.dtypes, key=lambda d: d.itemsize)
        rows = LARGE // WIDE + FEW
        needed = (4 * len(self.op.spec.tensors) + 5) * rows * WIDE * dtype.itemsize
        if (free := self.free()) < needed:
            have = f"{free / 2**30:.0f} are free"
            raise Skip(f"needs {needed / 2**30:.0f} GiB of GPU memory, {have}")
        return self.repeated(rows, WIDE, dtype)

    def repeated(self, rows: int, cols: int, dtype: torch.dtype) -> list[Comparison]:
        """A few rows over and over; the last of them against the truth of the few.

        Sums over all rows have another truth, and are left out.
        """
        few = self.op.draw(FEW, cols, dtype, self.seed)
        wanted = last_rows(partial(self.op.expect, seed=self.seed), self.op.spec, few, FEW, rows)

        over = times(rows, FEW)
        handles, upstream = self.op.put(few, over), self.op.send(wanted, over)
        called = self.op.call(handles, wanted, upstream=upstream, last=FEW)
        self.op.drop([*handles, *upstream])
        last = {name: t for name, t in called.results.items() if name in wanted.eager}
        return compare(last, wanted)


def _exchanged(inputs: Sequence[Tensor], seed: int) -> list[Tensor]:
    """The same numbers with two of each tensor exchanged: no sum or single element tells."""
    chance, changed = random.Random(seed), []
    for t in inputs:
        other = t.clone(memory_format=torch.contiguous_format)
        if other.numel() > 1:
            i, j = chance.sample(range(other.numel()), 2)
            flat = other.view(-1)
            flat[i], flat[j] = flat[j].clone(), flat[i].clone()
        changed.append(other)
    return changed


def _must_equal(got: dict[str, Tensor], before: dict[str, Tensor], what: str) -> None:
    for name, value in before.items():
        if name not in got or not same_bits(got[name], value):
            raise Wrong(f"{name} {what}")
