"""The checks of values: outputs and gradients against the truth, over sizes and layouts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from workbench.channel import dtype_name
from workbench.judge.checks.cases import (
    PLENTY,
    Planted,
    added,
    gradient_subsets,
    magnitudes,
    scaled,
    unseen_shapes,
    with_leading,
    with_special,
    with_zeros,
)
from workbench.judge.memory import same_bits
from workbench.judge.op import Op
from workbench.judge.remote import Raised
from workbench.judge.trial import Skip, Trial, Wrong
from workbench_kernels.bound import Comparison, compare
from workbench_kernels.testing import (
    BATCHES,
    LAYOUTS,
    NARROW,
    Case,
    cases,
    changed_parameters,
    small_shape,
    variants,
)

# Layouts in which one input at a time is tried; and how small inputs are for a small parameter.
APART = ("transposed", "every_other_column", "slice_of_wider_rows")
SMALL = 1e-3
AUTOCAST = torch.bfloat16  # the dtype of the worker's
# A parameter that is smaller guards against what happens at zero, so it is not tried there.
GUARD = 1e-3


@dataclass(frozen=True)
class Values:
    """Each method is one check: it yields its trials. `sizes` is the seed of the sizes that are
    drawn, `seed` of all values.
    """

    op: Op
    sizes: int
    seed: int

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The checks by name, in the order they run."""
        parameters = {"parameters": self.parameters} if self.op.spec.parameters else {}
        return {
            "forward": self.forward,
            "backward": self.backward,
            **parameters,
            **({"variants": self.variants} if self.op.spec.variants else {}),
            "unseen shapes": self.unseen_shapes,
            "empty": self.empty,
            "leading dimensions": self.leading_dimensions,
            "layouts": self.layouts,
            "upstream gradients": self.upstream_gradients,
            "subsets of gradients": self.subsets,
            "nan and infinity": self.special,
            "zeros": self.zeros,
            "magnitudes": self.magnitudes,
        }

    def forward(self) -> Iterator[Trial]:
        """Every shape and dtype of the spec, with no gradient wanted; where none can be; and under
        autocast.
        """
        for case in self._plain():
            yield Trial(str(case), partial(self._case, case, needs=()))
        for mode in ("no_grad", "inference_mode"):
            for dtype in self.op.spec.dtypes:
                yield Trial(f"{mode}-{dtype_name(dtype)}", partial(self._without_grad, dtype, mode))
        yield Trial("autocast", self._under_autocast)

    def backward(self) -> Iterator[Trial]:
        """The same with every gradient; the outputs are the forward's affair. Also where the inputs
        come from another layer.
        """
        if not self.op.spec.differentiable:
            raise Skip("no input has a gradient")
        for case in self._plain():
            yield Trial(str(case), partial(self._gradients, case))
        for dtype in self.op.spec.dtypes if not self.op.spec.mutates else ():
            yield Trial(f"between layers-{dtype_name(dtype)}", partial(self._between_layers, dtype))

    def parameters(self) -> Iterator[Trial]:
        """Parameters away from their defaults, and zero or some units one by one; also with small
        inputs, which small ones show in.
        """
        for dtype in self.op.spec.dtypes:
            for case in changed_parameters(self.op.spec, dtype):
                yield Trial(str(case), partial(self._case, case))
                yield Trial(f"{case}, small inputs", partial(self._case, case, scale=SMALL))
        for name, value in self.op.spec.parameters.items():
            if type(value) is float and abs(value) > GUARD:
                case = Case(*small_shape(self.op.spec), self.op.spec.dtypes[0], {name: 0.0})
                yield Trial(str(case), partial(self._where_it_means_something, case, 1.0))
                small = partial(self._where_it_means_something, case, SMALL)
                yield Trial(f"{case}, small inputs", small)
                large = replace(case, parameters={name: 4.0 * value + 2.0})
                yield Trial(str(large), partial(self._where_it_means_something, large, 1.0))

    def variants(self) -> Iterator[Trial]:
        """Each variant at the spec's sizes and at some that nobody was shown, and with gradients
        wanted for some inputs and not for others.
        """
        spec = self.op.spec
        for case in variants(spec):
            yield Trial(str(case), partial(self._case, case))
        unseen = [shape for shape in unseen_shapes(spec, self.sizes) if shape[1] <= NARROW]
        for name, settings in spec.variants.items():
            for shape in unseen:
                case = Case(*shape, spec.dtypes[0], settings, name)
                yield Trial(str(case), partial(self._case, case))
            small = Case(*small_shape(spec), spec.dtypes[0], settings, name)
            for needs in gradient_subsets(spec):
                label = f"{small}: {', '.join(needs) or 'none'}"
                there = tuple(tensor for tensor in needs if tensor not in settings)
                yield Trial(label, partial(self._case, small, needs=there))

    def unseen_shapes(self) -> Iterator[Trial]:
        """Sizes drawn for this verdict, in every dtype."""
        for shape in unseen_shapes(self.op.spec, self.sizes):
            for dtype in self.op.spec.dtypes:
                case = Case(*shape, dtype)
                yield Trial(str(case), partial(self._case, case))
        if self.op.spec.tier == 1:  # elements are cheap there, and programs take many
            case = Case(*PLENTY, self.op.spec.dtypes[0])
            yield Trial(str(case), partial(self._case, case))

    def empty(self) -> Iterator[Trial]:
        """No rows must work where the reference does; no columns may be refused."""
        rows, cols = small_shape(self.op.spec)
        no_rows = Case(0, cols, self.op.spec.dtypes[0])
        no_cols = Case(rows, 0, self.op.spec.dtypes[0])
        yield Trial(str(no_rows), partial(self._case, no_rows))
        yield Trial(str(no_cols), partial(_unless_refused, partial(self._case, no_cols)))

    def leading_dimensions(self) -> Iterator[Trial]:
        """Rows spread over two, three or four dimensions, and a single row of one dimension."""
        for lead in ((2, 3), (2, 1, 3), (2, 1, 1, 2), ()):
            for dtype in self.op.spec.dtypes:
                spread = partial(self._leading, lead, dtype)
                label = f"{(*lead, small_shape(self.op.spec)[1])}-{dtype_name(dtype)}"
                yield Trial(label, partial(_unless_refused, spread))

    def layouts(self) -> Iterator[Trial]:
        """Inputs and upstream gradients strided, sliced, misaligned, expanded."""
        for name, put in LAYOUTS.items():
            for dtype in self.op.spec.dtypes:
                attempt = partial(self._layout, dtype, name, put)
                yield Trial(f"{name}-{dtype_name(dtype)}", partial(self._if_it_can, attempt))
        for name, put in BATCHES.items():
            yield Trial(f"three dimensions, {name}", partial(self._batches, name, put))
        for index, tensor in enumerate(self.op.spec.tensors):
            for name in APART if len(self.op.spec.tensors) > 1 else ():
                label = f"{tensor} alone {name}"
                attempt = partial(self._alone, index, LAYOUTS[name])
                yield Trial(label, partial(self._if_it_can, attempt))
        for one, other in () if self.op.spec.mutates else self._alike():
            names = f"{self.op.spec.tensors[one]} and {self.op.spec.tensors[other]}"
            yield Trial(f"{names} one tensor", partial(self._one_tensor, one, other))

    def upstream_gradients(self) -> Iterator[Trial]:
        """Plain inputs, and an upstream gradient of stride 0, transposed, large, small or NaN."""
        if not self.op.spec.differentiable:
            raise Skip("no input has a gradient")
        for name in ("one value everywhere", "transposed", "large", "small"):
            for dtype in self.op.spec.dtypes:
                yield Trial(f"{name}-{dtype_name(dtype)}", partial(self._layout, dtype, name))
        yield Trial("nan", self._nan_sent_back)
        inputs = self._draw(*small_shape(self.op.spec), self.op.spec.dtypes[0])
        sent = enumerate(self.op.expect(inputs, seed=self.seed).upstream)
        used = [index for index, dy in sent if dy is not None]
        for index in used if len(used) > 1 else []:
            yield Trial(f"output {index} alone", partial(self._one_output, index))

    def subsets(self) -> Iterator[Trial]:
        """Gradients wanted for some inputs and not for others."""
        for dtype in self.op.spec.dtypes:
            case = Case(*small_shape(self.op.spec), dtype)
            for needs in gradient_subsets(self.op.spec):
                label = f"{', '.join(needs) or 'none'}-{dtype_name(dtype)}"
                yield Trial(label, partial(self._case, case, needs=needs))

    def special(self) -> Iterator[Trial]:
        """NaN and infinities come out where the reference lets them out."""
        for dtype in self.op.spec.dtypes:
            for planted in with_special(self.op, dtype, self.seed):
                yield Trial(f"{planted}-{dtype_name(dtype)}", partial(self._special, planted))

    def zeros(self) -> Iterator[Trial]:
        """Zeros here and there, and in a whole row, as padding has them."""
        for dtype in self.op.spec.dtypes:
            for planted in with_zeros(self.op, dtype, self.seed):
                yield Trial(f"{planted}-{dtype_name(dtype)}", partial(self._zeros, planted))

    def magnitudes(self) -> Iterator[Trial]:
        """Inputs so large that products overflow, so small that they vanish, and in between."""
        for dtype in self.op.spec.dtypes:
            for label, inputs in magnitudes(self.op, dtype, self.seed):
                attempt = partial(self.op.compare, inputs, seed=self.seed)
                yield Trial(f"{label}-{dtype_name(dtype)}", attempt)

    def _plain(self) -> list[Case]:
        return [case for case in cases(self.op.spec) if not case.parameters]

    def _case(
        self, case: Case, needs: tuple[str, ...] | None = None, scale: float = 1.0
    ) -> list[Comparison]:
        inputs = scaled(self._draw(case.rows, case.cols, case.dtype), scale)
        return self.op.compare(inputs, parameters=case.parameters, needs=needs, seed=self.seed)

    def _where_it_means_something(self, case: Case, scale: float) -> list[Comparison]:
        """A parameter that the reference divides by can't be zero; nor need the op take it."""
        inputs = scaled(self._draw(case.rows, case.cols, case.dtype), scale)
        expected = self.op.expect(inputs, parameters=case.parameters, seed=self.seed)
        if not all(t.isfinite().all() for t in expected.truth.values()):
            raise Skip("the reference gives nothing finite")
        return _unless_refused(partial(self._case, case, scale=scale))

    def _without_grad(self, dtype: torch.dtype, mode: str) -> list[Comparison]:
        inputs = self._draw(*small_shape(self.op.spec), dtype)
        expected = self.op.expect(inputs, seed=self.seed)
        got = self.op.run(inputs, mode=mode)
        return [c for c in compare(got, expected) if c.name.startswith("y")]

    def _under_autocast(self) -> list[Comparison]:
        """An op may give what autocast asks for, which is less; else what it gives without it. One
        with products multiplies in autocast's dtype, which is to give what cast inputs do.
        """
        inputs = self._draw(*small_shape(self.op.spec), self.op.spec.dtypes[0])
        cast = self.op.run(inputs, mode="autocast")
        if self.op.spec.products:
            inputs = tuple(t.to(AUTOCAST) if t.is_floating_point() else t for t in inputs)
        plain = self.op.run(inputs)
        for name, value in cast.items():
            same = name in plain and value.dtype is plain[name].dtype
            if same and not same_bits(value, plain[name]):
                raise Wrong(f"{name} is another one, of the same dtype")
        return []

    def _gradients(self, case: Case) -> list[Comparison]:
        return [c for c in self._case(case) if c.name.startswith("d")]

    def _between_layers(self, dtype: torch.dtype) -> list[Comparison]:
        inputs = self._draw(*small_shape(self.op.spec), dtype)
        expected = self.op.expect(inputs, seed=self.seed)
        return compare(self.op.run(inputs, expected, inner=True), expected)

    def _leading(self, lead: tuple[int, ...], dtype: torch.dtype) -> list[Comparison]:
        return self.op.compare(with_leading(self.op, lead, dtype, self.seed), seed=self.seed)

    def _layout(
        self, dtype: torch.dtype, layout: str, put: Callable[[Tensor], Tensor] | None = None
    ) -> list[Comparison]:
        inputs = self._draw(*small_shape(self.op.spec), dtype)
        placed = [put(t) for t in inputs] if put else inputs
        return self.op.compare(placed, seed=self.seed, layout=layout)

    def _batches(self, layout: str, put: Callable[[Tensor], Tensor]) -> list[Comparison]:
        inputs = with_leading(self.op, (2, 3), self.op.spec.dtypes[0], self.seed)
        attempt = partial(self.op.compare, [put(t) for t in inputs], seed=self.seed, layout=layout)
        return _unless_refused(partial(self._if_it_can, attempt))

    def _if_it_can(self, attempt: Callable[[], list[Comparison]]) -> list[Comparison]:
        """An op that overwrites its input can't copy it, nor write where elements share memory: it
        may refuse, in PyTorch's words if a view is what can't be had.
        """
        if not self.op.spec.mutates:
            return attempt()
        try:
            return _unless_refused(attempt)
        except Raised as refusal:
            if "view size is not compatible" not in refusal.message:
                raise
            raise Skip(f"the op refuses it: {refusal.message}") from refusal

    def _alone(self, index: int, put: Callable[[Tensor], Tensor]) -> list[Comparison]:
        """One input laid out differently from the others, and from the upstream gradient."""
        inputs = list(self._draw(*small_shape(self.op.spec), self.op.spec.dtypes[0]))
        inputs[index] = put(inputs[index])
        return self.op.compare(inputs, seed=self.seed)

    def _alike(self) -> list[tuple[int, int]]:
        """The pairs of inputs that may be one tensor."""
        names, wanting = self.op.spec.tensors, self.op.spec.differentiable
        drawn = self._draw(*small_shape(self.op.spec), self.op.spec.dtypes[0])
        return [
            (one, other)
            for one, other in itertools.combinations(range(len(drawn)), 2)
            if (drawn[one].dtype, drawn[one].shape) == (drawn[other].dtype, drawn[other].shape)
            and (names[one] in wanting) == (names[other] in wanting)
        ]

    def _one_tensor(self, one: int, other: int) -> list[Comparison]:
        """One tensor in two places: its gradient is the sum of both."""
        inputs = list(self._draw(*small_shape(self.op.spec), self.op.spec.dtypes[0]))
        inputs[other] = inputs[one]
        expected = self.op.expect(inputs, seed=self.seed)
        handles = self.op.put(inputs)
        shared = [handles[one] if i == other else handle for i, handle in enumerate(handles)]
        got = self.op.call(shared, expected).results
        self.op.drop(handles)
        return compare(got, added(expected, *(f"d{self.op.spec.tensors[i]}" for i in (one, other))))

    def _one_output(self, index: int) -> list[Comparison]:
        """Of several outputs a caller may use one; then some inputs may have no gradient at all."""
        inputs = self._draw(*small_shape(self.op.spec), self.op.spec.dtypes[0])
        expected = self.op.expect(inputs, seed=self.seed, only=index)
        got = self.op.run(inputs, expected)
        none = {n: t for n, t in expected.eager.items() if not expected.truth[n].any()}
        return compare(none | got, expected)

    def _nan_sent_back(self) -> list[Comparison]:
        """NaN sent back for every output must come out somewhere; where, is a mask's affair."""
        inputs = self._draw(*small_shape(self.op.spec), self.op.spec.dtypes[0])
        expected = self.op.expect(inputs, seed=self.seed, layout="nan")
        got = self.op.run(inputs, expected)
        for name, eager in expected.eager.items():
            must = name.startswith("d") and name in got and bool(eager.isnan().any())
            if must and not got[name].isnan().any():
                raise Wrong(f"{name} has no NaN though nothing else was sent back")
        return []

    def _zeros(self, planted: Planted) -> list[Comparison]:
        expected = self.op.expect(planted.inputs, seed=self.seed)
        got = self.op.run(planted.inputs, expected)
        for name, eager in expected.eager.items():
            # Where a function has a kink, any finite gradient will do.
            fits = name.startswith("d") and name in got and got[name].shape == planted.shape
            if fits and got[name].isfinite().all():
                got[name] = planted.copy_places(eager, got[name])
        return compare(got, expected)

    def _special(self, planted: Planted) -> list[Comparison]:
        """PyTorch's kernels for CPUs and for GPUs differ in what an infinity leads to (its fused
        rms_norm loses the whole row on a GPU, and one value on a CPU): either will do.
        """
        found = self._of_special(planted)
        if any(comparison.message for comparison in found):
            elsewhere = self._of_special(planted, device="cpu")
            if not any(comparison.message for comparison in elsewhere):
                return elsewhere
        return found

    def _of_special(self, planted: Planted, **where: str) -> list[Comparison]:
        expected = self.op.expect(planted.inputs, seed=self.seed, **where)
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
