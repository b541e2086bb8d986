"""What the kernel templates are given: an op's plan, spelled out as the pieces of Python that stand
in the file.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from workbench.authors import parameters
from workbench.authors.plan import KernelPlan, OpPlan, Sum, Tensor
from workbench.graph import Kind


def call(head: str, items: Iterable[str], tail: str = "") -> str:
    """`head(items)tail`; a formatter breaks it where it's too long."""
    return f"{head}({', '.join(items)}){tail}"


def unpacked(names: Iterable[str]) -> str:
    """Names as an assignment target that unpacks a tuple: `x, y` or `(x,)`."""
    names = list(names)
    return f"({names[0]},)" if len(names) == 1 else ", ".join(names)


def shape(tensor: Tensor, anchor: str) -> str:
    """The shape of a tensor beside a full-size one."""
    if tensor.kind is Kind.ELEMENT:
        return f"{anchor}.shape"
    if tensor.kind is Kind.ROW:
        return f"(*{anchor}.shape[:-1], 1)" if tensor.rank == 2 else f"{anchor}.shape[:-1]"
    if tensor.kind is Kind.COLUMN:
        return f"(1, {anchor}.shape[-1])" if tensor.rank == 2 else f"{anchor}.shape[-1:]"
    return ("()", "(1,)", "(1, 1)")[tensor.rank]


def fresh(tensor: Tensor, anchor: str) -> str:
    """An expression that makes an uninitialised tensor for a result."""
    if tensor.kind is Kind.ELEMENT:
        return f"torch.empty_like({anchor}, memory_format=torch.contiguous_format)"
    dtype = ", dtype=torch.float32" if tensor.float32 else ""
    return f"{anchor}.new_empty({shape(tensor, anchor)}{dtype})"


@dataclass(frozen=True)
class KernelView:
    """One kernel and the host function that launches it."""

    op: OpPlan
    plan: KernelPlan
    side: str
    optional: bool  # results may be left out: their pointer is None

    @property
    def name(self) -> str:
        return f"_{self.op.op}_{'fwd' if self.side == 'forward' else 'bwd'}"

    @property
    def pointers(self) -> list[str]:
        results = [t.pointer for t in self.plan.outputs] + [s.parts.upper() for s in self.plan.sums]
        return results + [t.pointer for t in self.plan.inputs] + list(self.plan.parameters)

    @property
    def arguments(self) -> list[str]:
        results = [t.name for t in self.plan.outputs] + [s.parts for s in self.plan.sums]
        return results + [t.name for t in self.plan.inputs] + list(self.plan.parameters)

    def definition(self, *sizes: str, suffix: str = "") -> str:
        return call(f"def {self.name}{suffix}", [*self.pointers, *sizes], ":")

    def launch(self, *extra: str, suffix: str = "", grid: str = "grid") -> str:
        return call(f"{self.name}{suffix}[{grid}]", [*self.arguments, *extra])

    @property
    def received(self) -> list[str]:
        """Tensors the host function is called with."""
        if self.side == "forward":
            return [t.name for t in self.op.tensors]
        return [*self.op.tangents, *self.op.kept]

    @property
    def contiguous(self) -> str:
        """One line that makes what the kernel reads contiguous; what the forward kept per row
        already is.
        """
        read = [t.name for t in self.plan.inputs if t.name not in self.op.saved]
        return f"{', '.join(read)} = {', '.join(f'{name}.contiguous()' for name in read)}"

    @property
    def anchor(self) -> str:
        """A full-size tensor at hand."""
        if self.side == "forward":
            return self.op.like
        return next(name for name in self.op.kept if name in self.op.full)

    def result(self, name: str) -> Tensor:
        """The tensor of a result: an output, a saved value, or the gradient of an input."""
        if self.side == "forward":
            outputs = [t for t in self.op.outputs if t.name == name]
            return outputs[0] if outputs else Tensor(name, Kind.ROW, rank=1, float32=True)
        return next(t for t in self.op.tensors if f"d{t.name}" == name)

    def needed(self, name: str) -> str:
        """The condition under which a gradient is wanted."""
        return f"needs[{[f'd{t.name}' for t in self.op.tensors].index(name)}]"

    def allocate(self, name: str) -> str:
        made = fresh(self.result(name), self.anchor)
        return (
            f"{name} = {made} if {self.needed(name)} else None"
            if self.optional
            else f"{name} = {made}"
        )

    def allocate_parts(self, part: Sum) -> str:
        width = "n_cols" if part.kind is Kind.COLUMN else "1"
        count = (
            "grid[0] * grid[1]"
            if self.plan.structure == "tile" and part.kind is Kind.SCALAR
            else "grid[0]"
        )
        made = f"{self.anchor}.new_empty(({count}, {width}), dtype=torch.float32)"
        condition = f" if {self.needed(part.name)} else None" if self.optional else ""
        return f"{part.parts} = {made}{condition}"

    def add_up(self, part: Sum) -> str:
        size = shape(self.result(part.name), self.anchor)
        made = f"add_parts({part.parts}, {size}, {self.anchor}.dtype)"
        condition = f" if {part.parts} is not None else None" if self.optional else ""
        return f"{part.name} = {made}{condition}"

    def load(self, tensor: Tensor) -> str:
        """The line that loads a tensor's part of the tile, zeros past the end."""
        where, mask = {
            Kind.ELEMENT: (" + offsets", ", mask=mask, other=0.0"),
            Kind.ROW: (" + rows", ", mask=row_mask, other=0.0"),
            Kind.COLUMN: (" + cols", ", mask=col_mask, other=0.0"),
            Kind.SCALAR: ("", ""),
        }[tensor.kind]
        if tensor.dtype == "bool":
            return (
                f"{tensor.name} = tl.load({tensor.pointer}{where}{mask.replace('0.0', '0')}) != 0"
            )
        return f"{tensor.name} = tl.load({tensor.pointer}{where}{mask}).to(tl.float32)"

    @property
    def steps(self) -> list[str]:
        """The arithmetic, each column's values loaded right before they are needed. Until then the
        registers are free for what a row's reductions read: a kernel that loads weight and bias
        first has half as many programs at once.
        """
        waiting = {t.name: t for t in self.plan.inputs if t.kind == Kind.COLUMN}
        steps = list[str]()
        for line in self.plan.lines:
            for name in [n for n in waiting if re.search(rf"\b{n}\b", line)]:
                steps.append(self.load(waiting.pop(name)))
            steps.append(line)
        return [*steps, *(self.load(tensor) for tensor in waiting.values())]

    def load_again(self, tensor: Tensor, last: bool) -> str:
        """The same in a pass over a wide row: kept in the cache until the last pass is done."""
        if tensor.kind is not Kind.ELEMENT:
            return self.load(tensor)
        policy = "evict_first" if last else "evict_last"
        return self.load(tensor).replace(")", f', eviction_policy="{policy}")', 1)

    def store(self, tensor: Tensor) -> str:
        """The line that stores a result's part of the tile."""
        return self._store(tensor, self.plan.texts[tensor.name])

    def store_wide(self, tensor: Tensor) -> str:
        """The same in the kernel for wide rows."""
        return self._store(tensor, self.plan.pass_texts[tensor.name])

    def outputs_of(self, names: Iterable[str]) -> list[Tensor]:
        return [t for t in self.plan.outputs if t.name in names]

    def inputs_of(self, names: Iterable[str]) -> list[Tensor]:
        return [t for t in self.plan.inputs if t.name in names]

    def _store(self, tensor: Tensor, text: str) -> str:
        where, mask = ("offsets", "mask") if tensor.kind is Kind.ELEMENT else ("rows", "row_mask")
        value = text if text.isidentifier() else f"({text})"
        cast = "" if tensor.float32 else f".to({tensor.pointer}.dtype.element_ty)"
        return f"tl.store({tensor.pointer} + {where}, {value}{cast}, mask={mask})"

    def store_part(self, part: Sum) -> str:
        """The line that stores what this program added up."""
        pointer = part.parts.upper()
        if part.kind is Kind.COLUMN:
            total = f"tl.sum({part.name}, axis=0, keep_dims=True)"
            return f"tl.store({pointer} + tl.program_id(0) * n_cols + cols, {total}, mask=col_mask)"
        index = "tl.program_id(0)"
        if self.plan.structure == "tile":
            index = "tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)"
        return f"tl.store({pointer} + {index}, tl.sum({part.name}))"

    @property
    def table(self) -> str:
        """The name of the literal that says with what the kernel is launched."""
        return self.side.upper()

    @property
    def declaration(self) -> str:
        """That literal, as the op declares it."""
        literal = parameters.flat() if self.op.is_flat else parameters.by_width(self.plan)
        return f"{self.table} = {literal}"

    @property
    def stage_parameters(self) -> list[str]:
        return ["STAGES: tl.constexpr"] if self.plan.sums else []

    @property
    def tile_arguments(self) -> list[str]:
        loads = sum(t.kind is Kind.ELEMENT for t in self.plan.inputs)
        stages = [f"STAGES=stages(tile, {loads}, {self.anchor}.dtype)"] if self.plan.sums else []
        sizes = ["BLOCK_ROWS=tile.block_rows", "BLOCK_COLS=tile.block_cols"]
        return [*sizes, *stages, "num_warps=tile.num_warps"]

    @property
    def grid(self) -> str:
        rows, columns = "cdiv(n_rows, tile.block_rows)", "cdiv(n_cols, tile.block_cols)"
        if self.plan.structure == "row":
            return f"(programs({self.anchor}, n_rows, tile),)" if self.plan.sums else f"({rows},)"
        if self.plan.sums:
            return f"(programs({self.anchor}, n_rows, tile, {columns}), {columns})"
        return f"({rows}, {columns})"

    @property
    def results(self) -> list[str]:
        """What the host function returns, in order."""
        if self.side == "forward":
            return [t.name for t in self.op.outputs] + list(self.op.saved)
        return self.op.gradient_names

    @property
    def returned(self) -> str:
        """The expression the host function returns."""
        results = ", ".join(self.results)
        return f"[grad for grad in ({results}) if grad is not None]" if self.optional else results


@dataclass(frozen=True)
class OpView:
    """An op for the templates."""

    plan: OpPlan
    summary: str
    forward_formulas: list[str]
    backward_formulas: list[str]

    @property
    def name(self) -> str:
        return self.plan.op

    @property
    def title(self) -> str:
        """The first lines of the kernel's docstring."""
        return textwrap.fill(f"{self.name}: {self.summary}", 92)

    @property
    def single(self) -> bool:
        """One gradient only: the backward returns it, and need not be told whether it's wanted."""
        return len(self.plan.gradient_names) == 1

    @property
    def forward(self) -> KernelView:
        return KernelView(self.plan, self.plan.forward, "forward", optional=False)

    @property
    def backward(self) -> KernelView:
        return KernelView(self.plan, self.plan.backward, "backward", optional=not self.single)

    @property
    def kernels(self) -> tuple[KernelView, KernelView]:
        return self.forward, self.backward

    @property
    def uses_numerics(self) -> bool:
        terms = [s.term for k in self.kernels for s in k.plan.sums]
        return any(
            "numerics." in text
            for k in self.kernels
            for text in (*k.plan.lines, *terms, *k.plan.texts.values())
        )

    @property
    def has_sums(self) -> bool:
        return any(kernel.plan.sums for kernel in self.kernels)

    @property
    def has_wide(self) -> bool:
        return any(kernel.plan.passes for kernel in self.kernels)

    @property
    def launch_imports(self) -> list[str]:
        if self.plan.is_flat:
            return ["cdiv", "device_of", "flat_tile"]
        structures = {kernel.plan.structure for kernel in self.kernels}
        needed = {
            "cdiv": any("cdiv(" in kernel.grid for kernel in self.kernels),
            "column_tile": structures - {"row"},
            "WIDEST_ROW": self.has_wide,
            "device_of": True,
            "programs": self.has_sums,
            "row_tile": "row" in structures,
            "stages": self.has_sums,
            "wide_tile": self.has_wide,
        }
        return [name for name, wanted in needed.items() if wanted]

    @property
    def tables(self) -> str:
        """What kind of table the op declares."""
        return "Fixed" if self.plan.is_flat else "ByWidth"

    @property
    def note(self) -> str:
        tensors = (*self.plan.tensors, *self.plan.outputs)
        names = ", ".join(t.public for t in tensors if t.dtype == "float")
        masks = "".join(f" {t.public}: boolean." for t in tensors if t.dtype == "bool")
        reads, writes = self.traffic("forward")
        reads_back, writes_back = self.traffic("backward")
        return (
            f"{names}: float32, bfloat16 or float16; arithmetic in float32.{masks}\n"
            f"Full-size transfers: forward reads {reads} and writes {writes}, "
            f"backward reads {reads_back} and writes {writes_back}."
        )

    def traffic(self, side: str) -> tuple[int, int]:
        """Full-size tensors read and written in a direction."""
        kernel: KernelPlan = getattr(self.plan, side)
        count = [
            sum(t.kind is Kind.ELEMENT for t in tensors)
            for tensors in (kernel.inputs, kernel.outputs)
        ]
        return count[0], count[1]

    @property
    def forward_signature(self) -> list[str]:
        return [f"{t.name}: Tensor" for t in self.plan.tensors] + [
            f"{p}: float" for p in self.plan.parameters
        ]

    @property
    def backward_signature(self) -> list[str]:
        tensors = [f"{name}: Tensor" for name in self.backward.received]
        needs = [] if self.single else ["needs: list[bool]"]
        return tensors + [f"{p}: float" for p in self.plan.backward.parameters] + needs

    @property
    def forward_returns(self) -> str:
        count = len(self.plan.outputs) + len(self.plan.saved)
        return "Tensor" if count == 1 else f"tuple[{', '.join(['Tensor'] * count)}]"

    @property
    def backward_returns(self) -> str:
        return "Tensor" if self.single else "list[Tensor]"

    def define(self, name: str, signature: list[str], returns: str) -> str:
        return call(f"def {name}", signature, f" -> {returns}:")

    @property
    def forward_fakes(self) -> str:
        return ", ".join(
            fresh(self.forward.result(name), self.plan.like) for name in self.forward.results
        )

    @property
    def backward_fakes(self) -> list[tuple[str, str]]:
        """Each gradient's condition and how it's made."""
        view = self.backward
        return [(view.needed(name), fresh(view.result(name), view.anchor)) for name in view.results]

    @property
    def save_inputs(self) -> str:
        """The op's arguments as the autograd context gets them; those it doesn't keep start with an
        underscore.
        """
        kept = {*self.plan.kept, *self.plan.backward.parameters}
        names = [t.name for t in self.plan.tensors] + list(self.plan.parameters)
        return unpacked(name if name in kept else f"_{name}" for name in names)

    @property
    def save_outputs(self) -> str:
        """The op's results as the autograd context gets them, or nothing if it keeps none."""
        names = [t.name for t in self.plan.outputs]
        if not self.plan.saved and not set(names) & set(self.plan.kept):
            return ""
        targets = [n if n in self.plan.kept else f"_{n}" for n in names] + list(self.plan.saved)
        return ", ".join(targets)

    @property
    def differentiate_signature(self) -> list[str]:
        extra = [f"_d{name}: None" for name in self.plan.saved]
        return ["ctx: Any", *(f"{name}: Tensor" for name in self.plan.tangents), *extra]

    @property
    def backward_call(self) -> str:
        arguments = [*self.backward.received, *(f"ctx.{p}" for p in self.plan.backward.parameters)]
        return call(f"{self.name}_backward", arguments if self.single else [*arguments, "needs"])

    @property
    def differentiate_returns(self) -> str:
        """One entry per argument of the op."""
        nones = ["None"] * len(self.plan.parameters)
        if self.single:
            grads = [
                "grad" if f"d{t.name}" in self.plan.gradient_names else "None"
                for t in self.plan.tensors
            ]
        elif nones:
            grads = ["*op.spread(grads, needs)"]
        else:
            grads = ["op.spread(grads, needs)"]
        return ", ".join([*grads, *nones])
