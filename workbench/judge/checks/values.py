"""The checks of values: outputs and gradients against the truth, over sizes and layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workbench.channel import dtype_name
from workbench.judge.checks.cases import (
    TALL,
    Planted,
    gradient_subsets,
    magnitudes,
    unseen_shapes,
    with_leading,
    with_special,
)
from workbench.judge.op import Op
from workbench.judge.remote import Raised
from workbench.judge.trial import Skip, Trial
from workbench_kernels.bound import Comparison, compare
from workbench_kernels.testing import LAYOUTS, Case, cases, small_shape


@dataclass(frozen=True)
class Values:
    """Each method is one check: it yields its trials. `seed` fixes every value that is drawn."""

    op: Op
    seed: int

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The checks by name, in the order they run."""
        parameters = {"parameters": self.parameters} if self.op.spec.parameters else {}
        return {
            "forward": self.forward,
            "backward": self.backward,
            **parameters,
            "unseen shapes": self.unseen_shapes,
            "empty": self.empty,
            "leading dimensions": self.leading_dimensions,
            "layouts": self.layouts,
            "upstream gradients": self.upstream_gradients,
            "subsets of gradients": self.subsets,
            "nan and infinity": self.special,
            "magnitudes": self.magnitudes,
        }

    def forward(self) -> Iterator[Trial]:
        """Every shape and dtype of the spec, with no gradient wanted; and one where none can be."""
        for case in self._plain():
            yield Trial(str(case), partial(self._case, case, needs=()))
        for mode in ("no_grad", "inference_mode"):
            for dtype in self.op.spec.dtypes:
                yield Trial(f"{mode}-{dtype_name(dtype)}", partial(self._without_grad, dtype, mode))

    def backward(self) -> Iterator[Trial]:
        """The same with every gradient; the outputs are the forward's affair."""
        if not self.op.spec.differentiable:
            raise Skip("no input has a gradient")
        for case in self._plain():
            yield Trial(str(case), partial(self._gradients, case))

    def parameters(self) -> Iterator[Trial]:
        """Parameters away from their defaults."""
        for case in cases(self.op.spec):
            if case.parameters:
                yield Trial(str(case), partial(self._case, case))

    def unseen_shapes(self) -> Iterator[Trial]:
        """Sizes drawn for this verdict, in every dtype."""
        for shape in unseen_shapes(self.op.spec, self.seed):
            for dtype in self.op.spec.dtypes if shape[0] < TALL else self.op.spec.dtypes[:1]:
                case = Case(*shape, dtype)
                yield Trial(str(case), partial(self._case, case))

    def empty(self) -> Iterator[Trial]:
        """No rows must work where the reference does; no columns may be refused."""
        rows, cols = small_shape(self.op.spec)
        no_rows = Case(0, cols, self.op.spec.dtypes[0])
        no_cols = Case(rows, 0, self.op.spec.dtypes[0])
        yield Trial(str(no_rows), partial(self._case, no_rows))
        yield Trial(str(no_cols), partial(_unless_refused, partial(self._case, no_cols)))

    def leading_dimensions(self) -> Iterator[Trial]:
        """Rows spread over two or three dimensions, and a single row of one dimension."""
        for lead in ((2, 3), (2, 1, 3), ()):
            for dtype in self.op.spec.dtypes:
                spread = partial(self._leading, lead, dtype)
                label = f"{(*lead, small_shape(self.op.spec)[1])}-{dtype_name(dtype)}"
                yield Trial(label, partial(_unless_refused, spread))

    def layouts(self) -> Iterator[Trial]:
        """Inputs and upstream gradients strided, sliced, misaligned, expanded."""
        for name, put in LAYOUTS.items():
            for dtype in self.op.spec.dtypes:
                attempt = partial(self._layout, dtype, name, put)
                if self.op.spec.mutates:  # it can't write where elements share memory
                    attempt = partial(_unless_refused, attempt)
                yield Trial(f"{name}-{dtype_name(dtype)}", attempt)

    def upstream_gradients(self) -> Iterator[Trial]:
        """Plain inputs, but an upstream gradient of stride 0 or transposed."""
        if not self.op.spec.differentiable:
            raise Skip("no input has a gradient")
        for name in ("one value everywhere", "transposed"):
            for dtype in self.op.spec.dtypes:
                yield Trial(f"{name}-{dtype_name(dtype)}", partial(self._layout, dtype, name))

    def subsets(self) -> Iterator[Trial]:
        """Gradients wanted for some inputs and not for others."""
        case = Case(*small_shape(self.op.spec), self.op.spec.dtypes[0])
        for needs in gradient_subsets(self.op.spec):
            yield Trial(", ".join(needs) or "none", partial(self._case, case, needs=needs))

    def special(self) -> Iterator[Trial]:
        """NaN and infinities come out where the reference lets them out."""
        for dtype in self.op.spec.dtypes:
            for planted in with_special(self.op, dtype, self.seed):
                yield Trial(f"{planted}-{dtype_name(dtype)}", partial(self._special, planted))

    def magnitudes(self) -> Iterator[Trial]:
        """Inputs so large that products overflow, so small that they vanish."""
        for dtype in self.op.spec.dtypes:
            for label, inputs in magnitudes(self.op, dtype, self.seed):
                attempt = partial(self.op.compare, inputs, seed=self.seed)
                yield Trial(f"{label}-{dtype_name(dtype)}", attempt)

    def _plain(self) -> list[Case]:
        return [case for case in cases(self.op.spec) if not case.parameters]

    def _case(self, case: Case, needs: tuple[str, ...] | None = None) -> list[Comparison]:
        inputs = self._draw(case.rows, case.cols, case.dtype)
        return self.op.compare(inputs, parameters=case.parameters, needs=needs, seed=self.seed)

    def _without_grad(self, dtype: torch.dtype, mode: str) -> list[Comparison]:
        inputs = self._draw(*small_shape(self.op.spec), dtype)
        expected = self.op.expect(inputs, seed=self.seed)
        got = self.op.run(inputs, mode=mode)
        return [c for c in compare(got, expected) if c.name.startswith("y")]

    def _gradients(self, case: Case) -> list[Comparison]:
        return [c for c in self._case(case) if c.name.startswith("d")]

    def _leading(self, lead: tuple[int, ...], dtype: torch.dtype) -> list[Comparison]:
        return self.op.compare(with_leading(self.op, lead, dtype, self.seed), seed=self.seed)

    def _layout(
        self, dtype: torch.dtype, layout: str, put: Callable[[Tensor], Tensor] | None = None
    ) -> list[Comparison]:
        inputs = self._draw(*small_shape(self.op.spec), dtype)
        placed = [put(t) for t in inputs] if put else inputs
        return self.op.compare(placed, seed=self.seed, layout=layout)

    def _special(self, planted: Planted) -> list[Comparison]:
        expected = self.op.expect(planted.inputs, seed=self.seed)
        got = self.op.run(planted.inputs, expected)
        for name, eager in expected.eager.items():
            if not name.startswith("d") or name not in got or got[name].shape != eager.shape:
                continue
            # Whether inf - inf is met on the way hangs on how the formula is written.
            lost = ~got[name].isfinite() & ~eager.isfinite()
            got[name] = torch.where(lost, eager, got[name])
            # PyTorch's own CPU and GPU kernels differ in the gradient at a NaN, so any will do.
            if planted.is_nan and eager.shape == planted.shape:
                got[name] = planted.copy_places(eager, got[name])
        return compare(got, expected)

    def _draw(self, rows: int, cols: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return self.op.draw(rows, cols, dtype, self.seed)


def _unless_refused(attempt: Callable[[], list[Comparison]]) -> list[Comparison]:
    try:
        return attempt()
    except Raised as refusal:
        if "ValueError" not in refusal.kinds:
            raise
        raise Skip(f"the op refuses it: {refusal.message}") from refusal
