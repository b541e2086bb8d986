"""The checks of interface: what the op looks like to PyTorch and to its callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workbench.channel import dtype_name
from workbench.judge.memory import same_bits
from workbench.judge.op import Op
from workbench.judge.remote import Raised
from workbench.judge.trial import Skip, Trial, Wrong
from workbench_kernels.bound import Comparison, compare, compare_one
from workbench_kernels.launch import SUPPORTED
from workbench_kernels.testing import LAYOUTS, NO_FORMULA, Case, cases, small_shape

# PyTorch's own words for a gradient that can't be differentiated, beside NotImplementedError.
_REFUSALS = (NO_FORMULA, "marked with @once_differentiable")
# The test of opcheck that compares an op with its fake.
_FAKE = ("test_faketensor",)


@dataclass(frozen=True)
class Interface:
    """Each method is one check: it yields its trials. `seed` fixes every value that is drawn."""

    op: Op
    seed: int

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The checks by name, in the order they run."""
        return {
            "form of outputs": self.form,
            "module": self.module,
            "second derivative": self.second_derivative,
            "refusals": self.refusals,
            "torch op": self.torch_op,
            "torch.compile": self.compiles,
        }

    def form(self) -> Iterator[Trial]:
        """Outputs are contiguous, on a device and in autograd's graph as the reference's are."""
        for dtype in self.op.spec.dtypes:
            for needs in (self.op.spec.differentiable, ()):
                label = f"{dtype_name(dtype)}, gradients: {', '.join(needs) or 'none'}"
                yield Trial(label, partial(self._form, dtype, needs))

    def module(self) -> Iterator[Trial]:
        """The module gives the function's results, whatever its mode and its parameters are."""
        for case in cases(self.op.spec):
            if (case.rows, case.cols) == small_shape(self.op.spec):
                yield Trial(str(case), partial(self._module, case))

    def second_derivative(self) -> Iterator[Trial]:
        """Right, or refused with NotImplementedError or as PyTorch does; never silently wrong."""
        if not self.op.spec.differentiable:
            raise Skip("no input has a gradient")
        for dtype in self.op.spec.dtypes:
            yield Trial(dtype_name(dtype), partial(self._second_derivative, dtype))

    def refusals(self) -> Iterator[Trial]:
        """What the kernels don't serve is a TypeError or a ValueError."""
        spec = self.op.spec
        yield Trial("float64", partial(self._refused, self._draw(torch.float64), ("TypeError",)))
        for dtype in (d for d in SUPPORTED if d not in spec.dtypes):
            left_out = partial(self._refused_or_right, self._draw(dtype))
            yield Trial(f"{dtype_name(dtype)}, which the spec leaves out", left_out)
        floating = [i for i, t in enumerate(self._draw(spec.dtypes[0])) if t.is_floating_point()]
        for i in floating if len(floating) > 1 and len(spec.dtypes) > 1 else []:
            mixed = list(self._draw(spec.dtypes[0]))
            mixed[i] = mixed[i].to(spec.dtypes[1])
            attempt = partial(self._refused, mixed, ("TypeError", "ValueError"))
            yield Trial(f"{spec.tensors[i]} in another dtype", attempt)
        whole = [
            t.to(torch.int32) if t.is_floating_point() else t for t in self._draw(spec.dtypes[0])
        ]
        yield Trial("int32", partial(self._refused, whole, ("TypeError", "ValueError"), needs=()))
        for name, resized in self._resized() if len(spec.tensors) > 1 else []:
            yield Trial(name, partial(self._refused_or_right, resized))

    def torch_op(self) -> Iterator[Trial]:
        """`torch.library.opcheck` on the forward and the backward op; what it is told of their
        outputs before they are computed holds for every dtype and layout.
        """
        first, *others = self.op.spec.dtypes
        yield Trial("opcheck", partial(self._opcheck, first))
        for dtype in others:
            label = f"opcheck of the fake, {dtype_name(dtype)}"
            yield Trial(label, partial(self._opcheck, dtype, tests=_FAKE))
        transposed = partial(self._opcheck, first, LAYOUTS["transposed"], _FAKE)
        yield Trial("opcheck of the fake, transposed", transposed)

    def compiles(self) -> Iterator[Trial]:
        """No graph break, and the same bits."""
        yield Trial("fullgraph", self._compiled)

    def _draw(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.op.draw(*small_shape(self.op.spec), dtype, self.seed)

    def _resized(self) -> Iterator[tuple[str, list[Tensor]]]:
        """Inputs of which one has more rows, more columns, both, or a single row."""
        rows, cols = small_shape(self.op.spec)
        dtype = self.op.spec.dtypes[0]
        for size in ((rows + 1, cols + 1), (rows + 1, cols), (rows, cols + 1), (1, cols)):
            others = self.op.draw(*size, dtype, self.seed)
            for i, other in enumerate(others):
                resized = list(self._draw(dtype))
                if resized[i].shape != other.shape:
                    resized[i] = other
                    yield f"{self.op.spec.tensors[i]} of another size, {size}", resized

    def _form(self, dtype: torch.dtype, needs: Sequence[str]) -> list[Comparison]:
        inputs = self._draw(dtype)
        wanted = self.op.referee.forms(inputs, needs)
        given = self.op.call(handles := self.op.put(inputs), needs=needs).facts.forms
        self.op.drop(handles)
        if len(given) != len(wanted):
            raise Wrong(f"{len(given)} outputs, the reference has {len(wanted)}")
        for i, (y, like) in enumerate(zip(given, wanted, strict=True)):
            if y != like:
                raise Wrong(f"output {i} is {y}, expected {like}")
        return []

    def _module(self, case: Case) -> list[Comparison]:
        inputs, parameters = self._draw(case.dtype), case.parameters
        expected = self.op.expect(inputs, parameters=parameters, seed=self.seed)
        run = partial(self.op.run, inputs, expected, parameters=parameters)
        wanted = run()
        for what in ("module", "module in eval mode"):
            _must_equal(
                run(what=what), wanted, f"the {what} gives something else than the function"
            )
        return []

    def _second_derivative(self, dtype: torch.dtype) -> list[Comparison]:
        inputs = self._draw(dtype)
        try:
            given = self.op.twice(inputs)
        except Raised as refusal:
            said = any(words in refusal.message for words in _REFUSALS)
            if "NotImplementedError" not in refusal.kinds and not said:
                raise
            return []
        eager, truth = self.op.referee.twice(inputs)
        if len(given) != len(eager):
            raise Wrong("the derivative of the gradient has another number of parts")
        return [
            compare_one("derivative of the gradient", g, e, t, (e - t).abs())
            for g, e, t in zip(given, eager, truth, strict=True)
        ]

    def _opcheck(
        self,
        dtype: torch.dtype,
        put: Callable[[Tensor], Tensor] | None = None,
        tests: Sequence[str] | None = None,
    ) -> list[Comparison]:
        inputs = [put(t) if put else t for t in self._draw(dtype)]
        self.op.opcheck(inputs, self.op.expect(inputs, seed=self.seed), tests)
        return []

    def _compiled(self) -> list[Comparison]:
        inputs = self._draw(self.op.spec.dtypes[0])
        expected = self.op.expect(inputs, seed=self.seed)
        given, wanted = (
            self.op.run(inputs, expected, what=what) for what in ("compiled", "function")
        )
        _must_equal(given, wanted, "compiled, it gives something else")
        return []

    def _refused(
        self, inputs: Sequence[Tensor], kinds: tuple[str, ...], needs: Sequence[str] | None = None
    ) -> list[Comparison]:
        try:
            self.op.run(inputs, needs=needs)
        except Raised as refusal:
            if set(kinds).intersection(refusal.kinds):
                return []
            raise
        raise Wrong(f"is not refused with {' or '.join(kinds)}")

    def _refused_or_right(self, inputs: Sequence[Tensor]) -> list[Comparison]:
        """What the reference broadcasts may be served or refused; the rest must be refused."""
        try:
            expected = self.op.expect(inputs, seed=self.seed)
        except Skip:
            return self._refused(inputs, ("TypeError", "ValueError"))
        try:
            return compare(self.op.run(inputs, expected), expected)
        except Raised as refusal:
            if {"TypeError", "ValueError"}.intersection(refusal.kinds):
                return []
            raise


def _must_equal(given: dict[str, Tensor], wanted: dict[str, Tensor], what: str) -> None:
    same = given.keys() == wanted.keys() and all(same_bits(given[n], wanted[n]) for n in wanted)
    if not same:
        raise Wrong(what)
