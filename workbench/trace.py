"""Trace a reference into its forward and backward ATen graphs, with symbolic sizes and symbolic
parameters.

AOTAutograd traces, inductor's decompositions break composite ops up, and its min-cut partitioner
decides what the forward saves and what the backward recomputes. Sizes stay symbols
(`dynamic=True`), so nothing is baked in by the sample's shape. Keyword floats can't be symbols
there, so the reference is traced at a few values of each, and every constant that moved is fitted
with an expression in the parameters, then checked at a point the fit has not seen.
"""

from __future__ import annotations

import itertools
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch._functorch.aot_autograd import aot_function
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table

from workbench.errors import BadReference
from workbench.graph import safe
from workbench.reference import Reference

# Two primes that no reference's constant is likely to equal.
ROWS, COLS = 47, 83
Position = tuple[str, tuple[int | str, ...]]
# Constants may have been through float32 on their way into the graph.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Trace:
    """The two graphs of a reference. `fitted` maps a constant's position to its expression in the
    parameters.
    """

    tensors: tuple[str, ...]
    differentiable: tuple[str, ...]
    outputs: int
    forward: fx.Graph
    backward: fx.Graph | None
    rows: sympy.Symbol
    cols: sympy.Symbol
    fitted: Mapping[str, Mapping[Position, sympy.Expr]] = field(default_factory=dict)


def trace(reference: Reference) -> Trace:
    """Trace `reference(*inputs)` and its gradient.

    Raises:
        BadReference: it can't be traced, or a constant depends on a parameter in a way no fit
        explains.
    """
    if not reference.parameters:
        return _trace_at(reference, {})
    probes = _probe_points(reference.parameters)
    traces = [_trace_at(reference, probe) for probe in probes]
    base = traces[0]
    fitted = {
        side: _fit_side(side, [getattr(t, side) for t in traces], probes)
        for side in ("forward", "backward")
        if getattr(base, side) is not None
    }
    return replace(base, fitted=fitted)


def _trace_at(reference: Reference, parameters: Mapping[str, float]) -> Trace:
    graphs: dict[str, fx.Graph] = {}

    def keep(side: str) -> Callable[..., Any]:
        def compiler(module: fx.GraphModule, _: Any) -> Any:
            graphs[side] = module.graph
            return module.forward

        return compiler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sample = reference.inputs(ROWS, COLS)
    tensors = [t.detach().requires_grad_(t.is_floating_point()) for t in sample]
    traced = aot_function(
        lambda *args: reference.call(args, parameters),
        fw_compiler=keep("forward"),
        bw_compiler=keep("backward"),
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
        dynamic=True,
    )
    with warnings.catch_warnings(), _without_tensorified_sizes():
        # The graphs are only looked at; how fast they would run, boxed or not, is of no interest.
        warnings.simplefilter("ignore", UserWarning)
        try:
            result = traced(*tensors)
            outputs = result if isinstance(result, tuple | list) else (result,)
            wanted = [out for out in outputs if out.requires_grad]
            if wanted:
                torch.autograd.backward(wanted, [torch.ones_like(out) for out in wanted])
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise BadReference(
                f"{reference.name} can't be traced: {str(error).splitlines()[0]}",
                hint="the reference must be plain tensor code, with no branch on a tensor's values",
            ) from error
    rows, cols = _symbols(graphs["forward"], tensors)
    return Trace(
        tensors=tuple(map(safe, reference.tensors)),
        differentiable=tuple(
            safe(name)
            for name, t in zip(reference.tensors, tensors, strict=True)
            if t.grad is not None
        ),
        outputs=len(outputs),
        forward=graphs["forward"],
        backward=graphs.get("backward"),
        rows=rows,
        cols=cols,
    )


@contextmanager
def _without_tensorified_sizes() -> Iterator[None]:
    """Keep sizes as Python scalars: turning them into tensors fails on a product of two symbols
    (torch 2.13).
    """
    name = "TENSORIFY_PYTHON_SCALARS"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _symbols(graph: fx.Graph, tensors: Sequence[Tensor]) -> tuple[sympy.Symbol, sympy.Symbol]:
    """The symbols that stand for rows and cols: those of the first input of two dimensions."""
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, tensor in zip(placeholders, tensors, strict=False):
        if tensor.dim() == 2 and tensor.shape == (ROWS, COLS):
            shape = node.meta["val"].shape
            return tuple(_expression(size) for size in shape)  # type: ignore[return-value]
    raise BadReference(
        "no input of the reference has the shape (rows, cols)",
        hint="give the reference file a function `inputs(rows, cols)` with one such tensor",
    )


def _expression(size: Any) -> Any:
    return (
        size.node.expr if isinstance(size, torch.SymInt | torch.SymFloat) else sympy.sympify(size)
    )


# How constants follow the parameters


def _probe_points(parameters: Mapping[str, float]) -> list[dict[str, float]]:
    """Points near the defaults, off any special value: enough to fit and, the last two, to check
    the fit.
    """
    base = {name: value * 1.0371 or 0.0137 for name, value in parameters.items()}
    moved = [{**base, name: base[name] * 1.271} for name in base]
    check = [{name: v * (1.057 + 0.031 * i) for i, (name, v) in enumerate(base.items())}]
    check.append({name: v * (1.191 - 0.043 * i) for i, (name, v) in enumerate(base.items())})
    return [base, *moved, *check]


def constants(graph: fx.Graph) -> Iterator[tuple[Position, float]]:
    """Every Python number among a graph's arguments, with where it stands."""
    for node in graph.nodes:
        if node.op == "call_function":
            named = itertools.chain(enumerate(node.args), node.kwargs.items())
            for key, value in named:
                if isinstance(value, int | float) and not isinstance(value, bool):
                    yield (node.name, (key,)), float(value)


def _fit_side(
    side: str, graphs: Sequence[fx.Graph], probes: Sequence[Mapping[str, float]]
) -> dict[Position, sympy.Expr]:
    tables = [dict(constants(graph)) for graph in graphs]
    shapes = [[(n.op, str(n.target)) for n in graph.nodes] for graph in graphs]
    if any(shape != shapes[0] for shape in shapes):
        raise BadReference(
            f"the {side} graph changes with the value of a parameter ({', '.join(probes[0])})",
            hint="make the branch depend on no parameter, or write one reference per case",
        )
    fitted: dict[Position, sympy.Expr] = {}
    for position, first in tables[0].items():
        values = [table[position] for table in tables]
        if any(not math.isclose(v, first, rel_tol=1e-12) for v in values):
            expression = _fit(values, probes)
            if expression is None:
                raise BadReference(
                    f"the constant {first:g} of {side} node {position[0]} depends on "
                    f"{', '.join(probes[0])} in a way that isn't understood",
                    hint="write that value as a tensor operation inside the reference",
                )
            fitted[position] = expression
    return fitted


def _fit(values: Sequence[float], probes: Sequence[Mapping[str, float]]) -> sympy.Expr | None:
    """An expression equal to `values` at every probe: affine in the parameters, or a monomial of
    them.
    """
    for candidate in (_affine(values, probes), _monomial(values, probes)):
        if candidate is not None and all(
            math.isclose(
                float(candidate.subs({safe(name): at for name, at in probe.items()})),
                value,
                rel_tol=TOLERANCE,
            )
            for value, probe in zip(values, probes, strict=True)
        ):
            return candidate
    return None


def _affine(values: Sequence[float], probes: Sequence[Mapping[str, float]]) -> sympy.Expr:
    names = list(probes[0])
    slopes = {
        name: (values[1 + i] - values[0]) / (probes[1 + i][name] - probes[0][name])
        for i, name in enumerate(names)
    }
    offset = values[0] - sum(slopes[name] * probes[0][name] for name in names)
    terms = [_tidy(slopes[name]) * sympy.Symbol(safe(name)) for name in names]
    return sympy.Add(*terms, _tidy(offset, scale=max(map(abs, values))))


def _monomial(values: Sequence[float], probes: Sequence[Mapping[str, float]]) -> sympy.Expr | None:
    names = list(probes[0])
    if any(v == 0 for v in values) or any(p <= 0 for probe in probes for p in probe.values()):
        return None
    if any(v / values[0] < 0 for v in values):
        return None
    powers = {
        name: round(
            2
            * math.log(values[1 + i] / values[0])
            / math.log(probes[1 + i][name] / probes[0][name])
        )
        / 2
        for i, name in enumerate(names)
    }
    scale = values[0] / math.prod(probes[0][name] ** power for name, power in powers.items())
    return _tidy(scale) * sympy.Mul(
        *(sympy.Symbol(safe(n)) ** sympy.Rational(p) for n, p in powers.items())
    )


def _tidy(value: float, scale: float = 1.0) -> sympy.Expr:
    """A fitted coefficient without its rounding noise: 0.9999999999 is 1, 1e-17 beside 1 is 0."""
    if abs(value) < 10 * TOLERANCE * scale:
        return sympy.Integer(0)
    for digits in range(1, 6):
        if math.isclose(rounded := float(f"{value:.{digits}g}"), value, rel_tol=5 * TOLERANCE):
            return sympy.Integer(int(rounded)) if rounded == int(rounded) else sympy.Float(rounded)
    return sympy.Float(value)
