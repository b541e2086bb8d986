"""What the wrapper and test templates are given: an op as its users see it."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.authors.plan import OpPlan, Tensor
from workbench.authors.view import call, shape
from workbench.graph import Kind, public
from workbench_kernels.nn import module_name

_SHAPES = {
    Kind.ELEMENT: ("any shape", "the same shape"),
    Kind.ROW: ("one per row", "one value per row"),
    Kind.COLUMN: ("the width of the last dimension", "one value per column"),
    Kind.SCALAR: ("one value", "one value"),
}
# A learned tensor of such a name scales, so it starts at one; any other is added and starts at
# zero.
_SCALES = ("weight", "gamma", "scale", "alpha", "gain")


@dataclass(frozen=True)
class Surface:
    """The functional form and the module: signatures, checks and docstrings."""

    plan: OpPlan
    by_rows: bool  # something is reduced along rows, or repeated over them: a width is needed

    @property
    def module_name(self) -> str:
        return module_name(self.plan.op)

    @property
    def floats(self) -> list[Tensor]:
        return [t for t in self.plan.tensors if t.dtype == "float"]

    @property
    def masks(self) -> list[Tensor]:
        return [t for t in self.plan.tensors if t.dtype == "bool"]

    @property
    def learned(self) -> list[Tensor]:
        """Tensors the module owns: one value per column, or one in all, with a gradient."""
        kinds = (Kind.COLUMN, Kind.SCALAR)
        return [
            t
            for t in self.plan.tensors
            if t.kind in kinds and f"d{t.name}" in self.plan.gradient_names
        ]

    @property
    def passed(self) -> list[Tensor]:
        """Tensors the module is called with."""
        return [t for t in self.plan.tensors if t not in self.learned]

    @property
    def _like(self) -> str:
        return public(self.plan.like)

    @property
    def _parameters(self) -> dict[str, float]:
        return {public(name): value for name, value in self.plan.parameters.items()}

    # Functional form

    @property
    def signature(self) -> str:
        tensors = [f"{t.public}: Tensor" for t in self.plan.tensors]
        returns = "Tensor" if len(self.plan.outputs) == 1 else self._tuple
        return call(f"def {self.plan.op}", tensors + self._keywords, f" -> {returns}:")

    @property
    def _tuple(self) -> str:
        return f"tuple[{', '.join(['Tensor'] * len(self.plan.outputs))}]"

    @property
    def _keywords(self) -> list[str]:
        return [f"{name}: float = {value!r}" for name, value in self._parameters.items()]

    @property
    def documentation(self) -> list[str]:
        dtypes = "float32, bfloat16 or float16"
        lines = []
        for t in self.plan.tensors:
            if t.public == self._like:
                rows = ", rows along the last dimension" * self.by_rows
                lines.append(f"{t.public}: any shape{rows}; {dtypes}; on a GPU.")
            else:
                kind = "boolean, " if t.dtype == "bool" else ""
                shape = f"as {self._like}" if t.kind is Kind.ELEMENT else _SHAPES[t.kind][0]
                lines.append(f"{t.public}: {kind}{shape}.")
        results = " and ".join(
            f"{t.name}: {_SHAPES[t.kind][1]}{', float32' * t.float32}" for t in self.plan.outputs
        )
        alike = "" if all(t.float32 for t in self.plan.outputs) else f"; dtype of {self._like}"
        return [*lines, f"Returns {results}{alike}."]

    @property
    def checks(self) -> list[str]:
        op, like = self.plan.op, self._like
        lines = [call("check", [f'"{op}"', *(f"{t.public}={t.public}" for t in self.floats)])]
        if self.masks:
            lines.append(
                call(
                    "check_mask", [f'"{op}"', like, *(f"{t.public}={t.public}" for t in self.masks)]
                )
            )
        if self.by_rows:
            lines.append(f'check_width("{op}", "{like}", {like})')
        others = [t for t in self.plan.tensors if t.public != like]
        return lines + [
            f'check_shape("{op}", "{t.public}", {t.public}, {shape(t, like)})' for t in others
        ]

    @property
    def check_imports(self) -> list[str]:
        wanted = {
            "check": True,
            "check_mask": self.masks,
            "check_shape": len(self.plan.tensors) > 1,
            "check_width": self.by_rows,
        }
        return [name for name, needed in wanted.items() if needed]

    @property
    def call(self) -> str:
        arguments = [t.public for t in self.plan.tensors] + list(self._parameters)
        call = f"kernel.{self.plan.op}({', '.join(arguments)})"
        if not self.plan.saved:
            return call
        count = len(self.plan.outputs)
        return f"{call}[0]" if count == 1 else f"{call}[:{count}]"

    @property
    def errors(self) -> tuple[str, str]:
        """What a TypeError and a ValueError are raised for."""
        several = len(self.plan.tensors) > 1
        types = "a dtype that is not float32, bfloat16 or float16" + ", or a mix of them" * several
        values = (
            "a shape that doesn't fit, or " * (several or self.by_rows)
            + "a tensor that is not on a GPU"
        )
        return types, values

    # Module form

    @property
    def module_arguments(self) -> list[str]:
        width = ["width: int"] if any(t.kind is Kind.COLUMN for t in self.learned) else []
        return [*width, *self._keywords]

    @property
    def module_init(self) -> str:
        return call("def __init__", ["self", *self.module_arguments], " -> None:")

    @property
    def module_body(self) -> list[str]:
        lines = [f"self.{name} = {name}" for name in self._parameters]
        for t in self.learned:
            start = "ones" if any(word in t.name for word in _SCALES) else "zeros"
            lines.append(f"self.{t.public} = nn.Parameter(torch.{start}({self._learned_size(t)}))")
        return lines

    @staticmethod
    def _learned_size(t: Tensor) -> str:
        if t.kind is Kind.COLUMN:
            return "1, width" if t.rank == 2 else "width"
        return ("()", "1", "1, 1")[t.rank]

    @property
    def module_forward(self) -> str:
        returns = "Tensor" if len(self.plan.outputs) == 1 else self._tuple
        return call(
            "def forward",
            ["self", *(f"{t.public}: Tensor" for t in self.passed)],
            f" -> {returns}:",
        )

    @property
    def module_call(self) -> str:
        tensors = [f"self.{t.public}" if t in self.learned else t.public for t in self.plan.tensors]
        return call(f"return {self.plan.op}", [*tensors, *(f"self.{p}" for p in self._parameters)])

    @property
    def module_repr(self) -> str:
        return ", ".join(f"{name}={{self.{name}}}" for name in self._parameters)

    # Test

    @property
    def all_names(self) -> list[str]:
        return [t.public for t in self.plan.tensors]

    @property
    def test_module(self) -> str:
        width = ["100"] if any(t.kind is Kind.COLUMN for t in self.learned) else []
        device = f".to({self._like}.device)" if self.learned else ""
        return f"{self.module_name}({', '.join(width)}){device}"

    @property
    def test_calls(self) -> tuple[str, str]:
        """The module on drawn tensors, and the function on the same ones."""
        arguments = [
            f"module.{t.public}" if t in self.learned else t.public for t in self.plan.tensors
        ]
        return (
            f"module({', '.join(t.public for t in self.passed)})",
            f"{self.plan.op}({', '.join(arguments)})",
        )

    @property
    def unused(self) -> list[str]:
        """Drawn tensors the module test has no use for: the module owns its own."""
        return [f"_{t.public}" if t in self.learned else t.public for t in self.plan.tensors]

    @property
    def mixed_call(self) -> str:
        last = self.floats[-1].public
        names = [
            f"{t.public}.bfloat16()" if t.public == last else t.public for t in self.plan.tensors
        ]
        return f"{self.plan.op}({', '.join(names)})"
