"""Plan the kernel for rows too wide to hold: several passes over the row, a block of columns at a
time.

A pass takes the reductions whose arguments earlier passes have made computable; the last pass
writes the full-size results. Everything else is recomputed from the loads: a row stays in the L2
cache between passes, so a pass costs little more than its arithmetic. A sum of exp(z − max z) joins
the pass of its maximum: it's rescaled as the maximum grows (Milakov and Gimelshein, 2018), which
makes softmax two passes instead of three.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workbench.authors.emit import Text, Writer, row_reduction
from workbench.graph import ROW_REDUCTIONS, Graph, Kind, Value, reachable


@dataclass(frozen=True)
class Pass:
    """One loop over the columns: what is started before it, done in it, and computed after it."""

    before: tuple[str, ...]
    loads: tuple[str, ...]
    lines: tuple[str, ...]
    after: tuple[str, ...]
    stores: tuple[str, ...]  # names of the full-size results this pass stores


_START = {"row_sum": "0.0", "row_max": 'float("-inf")', "row_min": 'float("inf")'}


def plan_passes(
    graph: Graph, writer_names: dict[int, str], taken: set[str]
) -> tuple[list[Pass], dict[str, str]]:
    """The passes over a row, and the text of each result.

    `writer_names` are the names wanted for results, `taken` those in use.
    """
    planner = _Planner(graph, writer_names, taken)
    rows = [v for v in graph.values() if v.kind is Kind.ROW and v.op not in ("input", "constant")]
    levels = _levels(graph.values())
    passes = [
        planner.reduce([v for v in levels if levels[v] == level], rows)
        for level in sorted(set(levels.values()))
    ]
    full = {name: value for name, value in graph.results.items() if value.kind is Kind.ELEMENT}
    if full:
        passes.append(planner.store(full))
    for name, value in graph.results.items():
        if value.kind is Kind.ROW:
            planner.texts[name] = planner.bound[id(value)].text
    return passes, planner.texts


def _levels(values: list[Value]) -> dict[Value, int]:
    """The pass each reduction belongs to: one after the last reduction its argument needs."""
    levels: dict[Value, int] = {}
    for value in values:
        if value.op in ROW_REDUCTIONS:
            needed = [levels[v] for v in reachable(value.args) if v in levels]
            level = 1 + max(needed, default=0)
            peak = running_maximum(value)
            levels[value] = (
                levels[peak] if peak is not None and level == levels[peak] + 1 else level
            )
    return levels


def running_maximum(value: Value) -> Value | None:
    """The maximum of z, if `value` is the row's sum of exp(z − max z)."""
    if value.op == "row_sum" and value.args[0].op == "exp":
        difference = value.args[0].args[0]
        if difference.op == "sub" and difference.args[1].op == "row_max":
            peak = difference.args[1]
            return peak if peak.args[0] is difference.args[0] else None
    return None


def _restore_nans(peak: str, total: str) -> str:
    """Give a maximum that dropped NaNs those of its sum; an infinite row's sum is NaN anyway."""
    lost = f'({total} != {total}) & ({peak} < float("inf"))'
    return f"{peak} = tl.where({lost}, {total}, {peak})"


class _Planner:
    """Writes passes one after the other; `bound` holds the text of every value per row so far."""

    def __init__(self, graph: Graph, names: dict[int, str], taken: set[str]) -> None:
        self.graph, self.names, self.taken = graph, names, set(taken)
        self.bound: dict[int, Text] = {}
        self.texts: dict[str, str] = {}

    def _writer(self) -> Writer:
        writer = Writer(names=self.names, taken=set(self.taken))
        for value in self.graph.inputs:
            writer.bind(value, value.name)
        writer.texts.update(self.bound)
        return writer

    def _loads(self, values: Iterable[Value]) -> tuple[str, ...]:
        blocks = (Kind.ELEMENT, Kind.COLUMN)
        needed = {
            v.name
            for v in reachable(values, known=self.bound)
            if v.op == "input" and v.kind in blocks
        }
        return tuple(v.name for v in self.graph.inputs if v.name in needed)

    def reduce(self, reductions: list[Value], rows: list[Value]) -> Pass:
        """The pass that computes `reductions`, then whatever per row has become computable."""
        writer = self._writer()
        rides = {v: peak for v in reductions if (peak := running_maximum(v)) in reductions and peak}
        writer.write([v.args[0] for v in reductions if v not in rides])
        loads = self._loads(v.args[0] for v in reductions)
        names = {value: self._name(value) for value in reductions}
        before = [
            f"{name} = tl.full([1, 1], {_START[v.op]}, tl.float32)" for v, name in names.items()
        ]
        updates = []
        for value in reductions:
            if value not in rides:
                sums = [names[v] for v, peak in rides.items() if peak is value]
                updates += self._update(writer, value, names[value], sums)
        self.bound |= {id(value): Text(name) for value, name in names.items()}
        restored = [_restore_nans(names[peak], names[v]) for v, peak in rides.items()]
        after = self._writer()
        ready = [v for v in rows if id(v) not in self.bound and self._computable(v)]
        after.write(ready)
        self.bound |= {id(value): after.texts[id(value)] for value in ready}
        self.taken |= after.taken
        lines = (*writer.lines, *updates)
        return Pass(tuple(before), loads, lines, (*restored, *after.lines), ())

    def _name(self, value: Value) -> str:
        base = self.names.get(id(value), value.op)
        name = next(
            n for i in range(1, 100) if (n := base if i == 1 else f"{base}{i}") not in self.taken
        )
        self.taken.add(name)
        return name

    @staticmethod
    def _update(writer: Writer, value: Value, name: str, sums: list[str]) -> list[str]:
        """The lines that take a block into a reduction, and into the sums that ride along with a
        maximum.
        """
        text = row_reduction(value, writer.text(value.args[0])).text
        if value.op == "row_sum":
            return [f"{name} += {text}"]
        combine = "maximum" if value.op == "row_max" else "minimum"
        if not sums:
            return [f"{name} = numerics.{combine}({name}, {text})"]
        grown = f"new_{name}"
        z = writer.text(value.args[0])
        # The hardware's maximum, a tenth faster, drops NaNs; the sum that rides along keeps them.
        largest = f'tl.max(tl.where(col_mask, {z}, float("-inf")), axis=1, keep_dims=True)'
        lines = [f"{grown} = tl.maximum({name}, {largest})"]
        # While every value so far is −inf the sum is 0; rescaling it would make −inf − (−inf) a
        # NaN.
        lines.append(f'shift = tl.where({grown} == float("-inf"), 0.0, {grown})')
        for total in sums:
            exponents = f"tl.where(col_mask, tl.exp({z} - shift), 0.0)"
            scaled = f"{total} * tl.exp({name} - shift)"
            lines.append(f"{total} = {scaled} + tl.sum({exponents}, axis=1, keep_dims=True)")
        return [*lines, f"{name} = {grown}"]

    def _computable(self, value: Value) -> bool:
        parts = reachable([value], known=self.bound)
        return all(v.kind in (Kind.ROW, Kind.SCALAR) and v.op not in ROW_REDUCTIONS for v in parts)

    def store(self, results: dict[str, Value]) -> Pass:
        """The last pass, which writes the full-size results."""
        writer = self._writer()
        writer.write(results.values())
        self.texts |= {name: writer.text(value) for name, value in results.items()}
        return Pass((), self._loads(results.values()), tuple(writer.lines), (), tuple(results))
