"""The checks of interface: what the op looks like to PyTorch and to its callers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.judge.candidate import Candidate
from workbench.judge.memory import same_bits
from workbench.judge.trial import Skip, Trial, Wrong
from workbench_kernels.bound import Comparison, compare, compare_one
from workbench_kernels.testing import check_compiles, check_registration, draw, small_shape
from workbench_kernels.truth import call


@dataclass(frozen=True)
class Interface:
    """Each method is one check: it yields its trials. `seed` fixes every value that is drawn."""

    op: Candidate
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
                label = f"{_short(dtype)}, gradients: {', '.join(needs) or 'none'}"
                yield Trial(label, partial(self._form, dtype, needs))

    def module(self) -> Iterator[Trial]:
        """The module gives the function's results."""
        for dtype in self.op.spec.dtypes:
            yield Trial(_short(dtype), partial(self._module, dtype))

    def second_derivative(self) -> Iterator[Trial]:
        """Right, or refused with NotImplementedError; never silently wrong."""
        if not self.op.spec.differentiable:
            raise Skip("no input has a gradient")
        yield Trial("gradient of the gradient", self._second_derivative)

    def refusals(self) -> Iterator[Trial]:
        """What the kernels don't serve is a TypeError or a ValueError."""
        spec = self.op.spec
        yield Trial("float64", partial(self._refused, self._draw(torch.float64), (TypeError,)))
        floating = [i for i, t in enumerate(self._draw(spec.dtypes[0])) if t.is_floating_point()]
        for i in floating if len(floating) > 1 and len(spec.dtypes) > 1 else []:
            mixed = list(self._draw(spec.dtypes[0]))
            mixed[i] = mixed[i].to(spec.dtypes[1])
            attempt = partial(self._refused, mixed, (TypeError, ValueError))
            yield Trial(f"{spec.tensors[i]} in another dtype", attempt)
        rows, cols = small_shape(spec)
        larger = draw(spec, rows + 1, cols + 1, spec.dtypes[0], self.seed)
        for i, other in enumerate(larger) if len(larger) > 1 else []:
            resized = list(self._draw(spec.dtypes[0]))
            if resized[i].shape != other.shape:
                resized[i] = other
                name = f"{spec.tensors[i]} of another size"
                yield Trial(name, partial(self._refused_or_right, resized))

    def torch_op(self) -> Iterator[Trial]:
        """`torch.library.opcheck` on the forward and the backward op."""
        yield Trial("opcheck", partial(_silent, check_registration, self.op))

    def compiles(self) -> Iterator[Trial]:
        """No graph break, and the same bits."""
        yield Trial("fullgraph", partial(_silent, check_compiles, self.op))

    def _draw(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        return draw(self.op.spec, *small_shape(self.op.spec), dtype, self.seed)

    def _form(self, dtype: torch.dtype, needs: Sequence[str]) -> list[Comparison]:
        spec, inputs = self.op.spec, self._draw(dtype)
        _, wanted = call(spec, spec.reference, inputs, needs=needs)
        _, given = call(spec, self.op.function, inputs, needs=needs)
        if len(given) != len(wanted):
            raise Wrong(f"{len(given)} outputs, the reference has {len(wanted)}")
        for i, (y, like) in enumerate(zip(given, wanted, strict=True)):
            if _describe(y) != _describe(like):
                raise Wrong(f"output {i} is {_describe(y)}, expected {_describe(like)}")
        return []

    def _module(self, dtype: torch.dtype) -> list[Comparison]:
        inputs = dict(zip(self.op.spec.tensors, self._draw(dtype), strict=True))
        module = _instantiate(self.op.module, small_shape(self.op.spec)[1])
        own = dict(module.named_parameters())
        for name, parameter in own.items():
            if name not in inputs:
                raise Wrong(f"the module's parameter {name} is no tensor of the reference")
            parameter.data = inputs[name]
        given = module(*(t for name, t in inputs.items() if name not in own))
        wanted = self.op.function(*inputs.values())
        pairs = zip(_as_tuple(given), _as_tuple(wanted), strict=True)
        if not all(same_bits(y.detach(), like) for y, like in pairs):
            raise Wrong("the module gives something else than the function")
        return []

    def _second_derivative(self) -> list[Comparison]:
        spec, inputs = self.op.spec, self._draw(self.op.spec.dtypes[0])
        try:
            given = _twice(*call(spec, self.op.function, inputs))
        except NotImplementedError:
            return []
        doubles = [t.double() if t.is_floating_point() else t for t in inputs]
        eager, truth = (_twice(*call(spec, spec.reference, x)) for x in (inputs, doubles))
        values = zip(given, eager, truth, strict=True)
        slack = [(e - t).abs() for e, t in zip(eager, truth, strict=True)]
        return [
            compare_one("derivative of the gradient", *three, error)
            for three, error in zip(values, slack, strict=True)
        ]

    def _refused(
        self, inputs: Sequence[Tensor], errors: tuple[type[Exception], ...]
    ) -> list[Comparison]:
        try:
            self.op.function(*inputs)
        except errors:
            return []
        raise Wrong(f"is not refused with {' or '.join(error.__name__ for error in errors)}")

    def _refused_or_right(self, inputs: Sequence[Tensor]) -> list[Comparison]:
        """What the reference broadcasts may be served or refused; the rest must be refused."""
        try:
            expected = self.op.expect(inputs, seed=self.seed)
        except Skip:
            return self._refused(inputs, (TypeError, ValueError))
        try:
            return compare(self.op.run(inputs, expected), expected)
        except (TypeError, ValueError):
            return []


def _silent(check: Callable[..., None], op: Candidate) -> list[Comparison]:
    check(op.spec, op.function)
    return []


def _twice(leaves: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Derivatives of the summed gradients by the inputs and by the upstream gradients."""
    ys = [y for y in outputs if y.requires_grad]
    sent = [torch.ones_like(y, requires_grad=True) for y in ys]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    grads = torch.autograd.grad(ys, wanted, sent, create_graph=True, materialize_grads=True)
    total = torch.stack([g.sum() for g in grads if g.requires_grad]).sum()
    return list(torch.autograd.grad(total, [*wanted, *sent], materialize_grads=True))


def _instantiate(module: type[Any], cols: int) -> Any:
    """The module with its defaults; a required argument is the width."""
    parameters = inspect.signature(module).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return module(*[cols] * len(required))


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _describe(y: Tensor) -> str:
    layout = "contiguous" if y.is_contiguous() else f"strided {y.stride()}"
    gradient = "with" if y.requires_grad else "without"
    return f"{y.dtype} {tuple(y.shape)} {layout} on {y.device.type} {gradient} a gradient"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
