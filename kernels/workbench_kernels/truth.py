"""What an op must give: the reference's values and gradients, exact and as PyTorch computes them.

The truth is the reference in float64, on copies of the inputs taken after they were rounded to the
dtype under test; gradients come from float64 autograd with a random upstream gradient rounded
likewise. PyTorch's own error against it, in the same dtype on the same device, says how hard the
case is; `bound.py` measures an op by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from workbench_kernels.spec import OpSpec, Option

# How often the reference is run with random roundings.
ROUNDINGS = 16


@dataclass(frozen=True)
class Expected:
    """What a call must give, for each output and gradient by name.

    Outputs are named `y` (`y0`, `y1` ... where there are several), the gradient of an input `x` is
    named `dx`. `eager` is PyTorch's value in the dtype under test, `truth` the float64 value.
    `upstream` are the gradients sent back, one per output, None for an output that has no gradient.
    """

    eager: dict[str, Tensor]
    truth: dict[str, Tensor]
    upstream: tuple[Tensor | None, ...]
    find_worst: Callable[[], dict[str, Tensor]] = field(repr=False)

    @cached_property
    def error(self) -> dict[str, Tensor]:
        """How far PyTorch is from the truth, element by element."""
        return _distance(self.eager, self.truth)

    @cached_property
    def worst_error(self) -> dict[str, Tensor]:
        """How far it might be. Its error is partly luck, most so where few values are summed up or
        nearly cancel, so this is the worst of several runs, each rounding every step at random.
        """
        return self.find_worst()


def call(
    spec: OpSpec,
    function: Callable[..., Any],
    inputs: Sequence[Tensor],
    *,
    parameters: Mapping[str, Option] | None = None,
    needs: Sequence[str] | None = None,
) -> tuple[list[Tensor | None], tuple[Tensor, ...]]:
    """Call with the inputs as leaves, by their names; those in `needs` (None: all that can) want a
    gradient. One that `parameters` name is left out.

    Returns the leaves, in the order of the inputs, and the outputs.
    """
    needs = spec.differentiable if needs is None else needs
    settings = dict(parameters or {})
    leaves = {
        name: None if name in settings else t.detach().requires_grad_(name in needs)
        for name, t in zip(spec.tensors, inputs, strict=True)
    }
    outputs = function(**leaves, **without(spec.tensors, settings))
    return [*leaves.values()], outputs if isinstance(outputs, tuple) else (outputs,)


def without(tensors: Sequence[str], parameters: Mapping[str, Option]) -> dict[str, Option]:
    """The settings that are no tensors left out."""
    return {name: value for name, value in parameters.items() if name not in tensors}


def run(
    spec: OpSpec,
    function: Callable[..., Any],
    inputs: Sequence[Tensor],
    upstream: Sequence[Tensor | None],
    *,
    parameters: Mapping[str, Option] | None = None,
    needs: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Outputs and gradients by name, as in `Expected`; a gradient autograd has not is left out."""
    leaves, outputs = call(spec, function, inputs, parameters=parameters, needs=needs)
    names = output_names(len(outputs))
    results = {name: y.detach() for name, y in zip(names, outputs, strict=True)}
    grads = gradients(spec.tensors, leaves, outputs, upstream)
    return results | {f"d{name}": grad for name, grad in grads.items()}


def output_names(count: int) -> list[str]:
    """What so many outputs are called, as in `Expected`."""
    return ["y"] if count == 1 else [f"y{i}" for i in range(count)]


def gradients(
    names: Sequence[str],
    leaves: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    upstream: Sequence[Tensor | None],
    *,
    again: bool = False,
) -> dict[str, Tensor]:
    """The gradient of each leaf that wants one, by the input's name; without what is unused.

    `again` keeps the graph, so that they can be asked for again.
    """
    pairs = zip(outputs, upstream, strict=False)  # `compare` reports a wrong number or shape
    fits = [(y, dy) for y, dy in pairs if dy is not None and y.shape == dy.shape]
    sent = [(y, dy) for y, dy in fits if y.requires_grad]
    named = zip(names, leaves, strict=True)
    wanted = {n: leaf for n, leaf in named if leaf is not None and leaf.requires_grad}
    if not sent or not wanted:
        return {}
    ys, dys = zip(*sent, strict=True)
    wants = list(wanted.values())
    grads = torch.autograd.grad(ys, wants, dys, allow_unused=True, retain_graph=again)
    return {name: grad for name, grad in zip(wanted, grads, strict=True) if grad is not None}


def expect(
    spec: OpSpec,
    inputs: Sequence[Tensor],
    *,
    parameters: Mapping[str, Option] | None = None,
    needs: Sequence[str] | None = None,
    seed: int = 0,
    layout: Callable[[Tensor], Tensor] | None = None,
    only: int | None = None,
) -> Expected:
    """What the op must give for these inputs, and random gradients to send back (in `layout`); with
    `only`, for that output alone.
    """
    pristine = [t.clone(memory_format=torch.contiguous_format) for t in inputs]
    _, outputs = call(spec, spec.reference, pristine, parameters=parameters, needs=needs)
    upstream = _upstream(outputs, seed, layout, only)
    evaluate = partial(_evaluate, spec, parameters=parameters, needs=needs)
    eager = evaluate(pristine, upstream)
    doubles = [t.double() if t.is_floating_point() else t for t in pristine]
    sent = [dy if dy is None else dy.double() for dy in upstream]
    with StayInFloat64():  # type: ignore[no-untyped-call]
        truth = evaluate(doubles, sent)
    chance = torch.Generator(device=inputs[0].device).manual_seed(seed)

    def find_worst() -> dict[str, Tensor]:
        worst = _distance(eager, truth)
        for _ in range(ROUNDINGS):
            with _RoundAtRandom(_dtype(pristine), chance):
                again = _distance(evaluate(doubles, sent), truth)
            worst = {name: error.maximum(again[name]) for name, error in worst.items()}
        return worst

    return Expected(eager, truth, upstream, find_worst)


def _evaluate(
    spec: OpSpec,
    inputs: Sequence[Tensor],
    upstream: Sequence[Tensor | None],
    *,
    parameters: Mapping[str, Option] | None,
    needs: Sequence[str] | None,
) -> dict[str, Tensor]:
    """The reference's outputs and gradients; an input without effect has a gradient of zeros."""
    needs = spec.differentiable if needs is None else needs
    named = zip(spec.tensors, inputs, strict=True)
    wanted = set(needs) - (parameters or {}).keys()
    zeros = {f"d{name}": torch.zeros_like(t) for name, t in named if name in wanted}
    return zeros | run(spec, spec.reference, inputs, upstream, parameters=parameters, needs=needs)


def _distance(approximate: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, Tensor]:
    """How far PyTorch is off, zero where it has no finite value."""
    distances = {name: (approximate[name].double() - t.double()).abs() for name, t in exact.items()}
    return {name: torch.where(d.isfinite(), d, 0.0) for name, d in distances.items()}


def _upstream(
    outputs: Sequence[Tensor],
    seed: int,
    layout: Callable[[Tensor], Tensor] | None,
    only: int | None,
) -> tuple[Tensor | None, ...]:
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed + 1_000_003)  # not the numbers the inputs are
        drawn = [torch.randn_like(y.detach()) if y.requires_grad else None for y in outputs]
    sent = [dy if only in (None, index) else None for index, dy in enumerate(drawn)]
    return tuple(dy if dy is None or layout is None else layout(dy) for dy in sent)


class StayInFloat64(TorchDispatchMode):
    """A reference that asks for float32 (`x.float()`) means "at least": its truth stays float64."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in here, and to be told so PyTorch would import its compiler."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        asked = kwargs.get("dtype")
        if asked is not None and asked.is_floating_point:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


class _RoundAtRandom(StayInFloat64):
    """Float64, but each step's result is rounded to `dtype`, to one side or the other.

    Steps that PyTorch fuses are taken apart. Those that don't round (a maximum, a selection, a
    copy) give what they were given. A matrix product rounds as it adds up, too.

    What is computed in float32, and kernels compute all dtypes in it, differs from GPU to GPU and
    from compiler to compiler: exp and its like are good to about two eps, which float32 results
    show, and a product that goes into a sum is rounded, or it is not where the two are one
    instruction: then x·w − x·w is not 0. What is smaller than float16's numbers is not lost before
    the end.
    """

    def __init__(self, dtype: torch.dtype, chance: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._dtype, self._chance = dtype, chance
        self._is_float32 = dtype is torch.float32
        self._scaled = WeakIdKeyDictionary()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _steps():
            with self:
                return _steps()[func](*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in _SUMS:
            args = tuple(self._unrounded(value) for value in args)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if func in _products() and result.dtype is torch.float64:
            self._add_up(result, *args[-2:])
        wide = 4.0 if self._is_float32 and packet in _APPROXIMATE else 1.0
        for t in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(t, Tensor) and t.dtype is torch.float64:
                self._round(t, wide)
        if packet in _SCALINGS or (packet in _MOVES and any(map(self._is_scaled, args))):
            self._scaled[result] = True
        return result

    def _is_scaled(self, value: Any) -> bool:
        """Whether it is a product, or a quotient, of something."""
        return isinstance(value, Tensor) and value in self._scaled

    def _unrounded(self, value: Any) -> Any:
        """A term of a sum: where it is a product, as it might be before it is rounded."""
        return self._shaken(value, _FLOAT32_EPS) if self._is_scaled(value) else value

    def _add_up(self, product: Tensor, a: Tensor, b: Tensor) -> None:
        """What a sum of n products loses that is rounded to float32 after each: to round x costs
        0.2 · eps · x in the mean, and the squares of such a sum, as it grows to √(Σ aₖ²·bₖ²) like a
        random walk, add up to n/2 times that of its end.
        """
        size = (a.square() @ b.square()).mul_(a.shape[-1] / 2).sqrt_()
        chance = torch.randn(
            size.shape, generator=self._chance, device=size.device, dtype=size.dtype
        )
        lost = chance.mul_(0.2 * _FLOAT32_EPS).mul_(size)
        product.add_(torch.where(lost.isfinite(), lost, 0.0))

    def _round(self, t: Tensor, wide: float) -> None:
        """Most of the judge's time goes by here, so tensors are small or written in place."""
        nearest = t.to(self._dtype)
        inexact = nearest != t  # the type that has both decides: float64
        if not inexact.any():
            return
        inexact &= nearest.isfinite()
        kind = torch.finfo(self._dtype)
        shaken = self._shaken(t, wide * kind.eps)
        rounded = torch.where(t.abs() < kind.tiny, shaken, shaken.to(self._dtype).double())
        t.copy_(torch.where(inexact, rounded, t))

    def _shaken(self, t: Tensor, eps: float) -> Tensor:
        """Each element changed by up to half of this share of it."""
        chance = torch.rand(t.shape, generator=self._chance, device=t.device)
        return chance.double().sub_(0.5).mul_(eps).add_(1).mul_(t)


_FLOAT32_EPS = torch.finfo(torch.float32).eps


def _packets(names: str) -> frozenset[Any]:
    return frozenset(getattr(torch.ops.aten, name) for name in names.split())


_SUMS = _packets("add sub rsub")
_SCALINGS = _packets("mul div")
# What gives the values it was given, of some places.
_MOVES = _packets(
    "_to_copy _unsafe_view alias clone expand gather index neg permute real reshape select slice "
    "squeeze to transpose unsqueeze view where"
)
_APPROXIMATE = _packets("cos erf exp exp2 expm1 rsqrt sigmoid sin tanh")


@cache
def _products() -> frozenset[Any]:
    aten = torch.ops.aten
    return frozenset((aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default))


@cache
def _steps() -> dict[Any, Callable[..., Any]]:
    aten, steps = torch.ops.aten, core_aten_decompositions()
    steps.update(get_decompositions((aten._softmax, aten._log_softmax)))
    return steps


def _dtype(inputs: Sequence[Tensor]) -> torch.dtype:
    """The dtype under test."""
    return next(t.dtype for t in inputs if t.is_floating_point())
