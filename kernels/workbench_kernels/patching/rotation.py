"""What a model's rotary function computes, in terms of `rope`, and a function that calls `rope`
wherever that was proven and the model's own wherever it was not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench_kernels.launch import SUPPORTED, interpreted
from workbench_kernels.patching.unnormed import Norm, pending_of, read
from workbench_kernels.qk_norm_rope.wrapper import qk_norm_rope
from workbench_kernels.rope.wrapper import rope

_COMPLEX = ("freqs_cis", "freqs_ci")
_UNSQUEEZE = "unsqueeze_dim"


class Layout(NamedTuple):
    """How a function is called: dimensions of what is rotated and of the tables, where the tables'
    dimension for heads is asked for (None if the function has no such argument), and where the
    heads are.
    """

    ndim: int
    table_ndim: int
    unsqueeze: int | None
    heads_dim: int


class Call(NamedTuple):
    """What a rotary function is called with, by its roles."""

    tensors: Sequence[Any]
    tables: Sequence[Any]
    unsqueeze: Any


@dataclass(frozen=True)
class Arguments:
    """The roles of a rotary function's parameters, by their names.

    `tensors` are rotated, one or two; `tables` are (cos, sin), or one of complex numbers. Others
    have a default. The first `in_order` are the tensors and the tables in this order; None if
    they are not.
    """

    names: tuple[str, ...]
    positional: int
    defaults: Mapping[str, Any]
    tensors: tuple[str, ...]
    tables: tuple[str, ...]
    in_order: int | None

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Arguments | None:
        """None if it isn't a function of a tensor and tables.

        Raises:
            TypeError: it has arguments of no known role.
        """
        parameters = _parameters(function)
        tables = _tables(parameters)
        if not tables:
            return None
        variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        plain = [p for p in parameters.values() if p.kind not in variable]
        names = tuple(p.name for p in plain)
        tensors = names[: min(map(names.index, tables))]
        rest = [p for p in plain if p.name not in tensors + tables]
        if unknown := [p.name for p in rest if p.default is inspect.Parameter.empty]:
            raise TypeError(f"it wants {unknown[0]} too")
        if len(tensors) not in (1, 2):
            raise TypeError(f"it rotates {len(tensors)} tensors at once")
        defaults = {p.name: p.default for p in plain if p.default is not inspect.Parameter.empty}
        positional = sum(p.kind is not inspect.Parameter.KEYWORD_ONLY for p in plain)
        ordered = tensors + tables
        in_order = len(ordered) if names[: len(ordered)] == ordered else None
        return cls(names, positional, defaults, tensors, tables, in_order)

    @property
    def unsqueezes(self) -> bool:
        """Whether it is told where the heads are."""
        return _UNSQUEEZE in self.names

    @property
    def unsqueeze(self) -> Any:
        """Where they are unless it is told."""
        return self.defaults.get(_UNSQUEEZE)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call | None:
        """Values by their roles; None for a call that is wrong, or says more than what has one."""
        if not kwargs and len(args) == self.in_order:
            split = len(self.tensors)  # the quick way, for nearly every call there is
            return Call(args[:split], args[split:], self.unsqueeze)
        if len(args) > self.positional:
            return None
        named = {**dict(zip(self.names, args, strict=False)), **kwargs}
        if len(named) < len(args) + len(kwargs):
            return None
        values = {**self.defaults, **named}
        if len(values) != len(self.names) or any(name not in values for name in self.names):
            return None
        for name in self.names:
            has_role = name in self.tensors or name in self.tables or name == _UNSQUEEZE
            if not has_role and values[name] is not self.defaults[name]:
                return None
        tensors = tuple(values[name] for name in self.tensors)
        tables = tuple(values[name] for name in self.tables)
        return Call(tensors, tables, values.get(_UNSQUEEZE))


def is_rotary(function: object) -> bool:
    """Whether a global that a forward names rotates something by tables, to judge by its names.

    The kernels library makes a module of a function; one it has given a kernel to is left to that.
    """
    if isinstance(function, nn.Module) and "forward" in vars(function):
        return False
    return (
        callable(function)
        and not inspect.isclass(function)
        and bool(_tables(_parameters(function)))
    )


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    known = function.forward if isinstance(function, nn.Module) else function
    try:
        return inspect.signature(known).parameters
    except (TypeError, ValueError):
        return {}


def _tables(names: Mapping[str, object]) -> tuple[str, ...]:
    if "cos" in names and "sin" in names:
        return "cos", "sin"
    return tuple(name for name in _COMPLEX if name in names)[:1]


@dataclass(frozen=True)
class Rotation:
    """A rotary function in terms of `rope`, and the calls it was proven for.

    table: a "column for each feature", a "value for each pair", or "its first half" has a value for
        each pair, and the rest is not read.
    backwards: pairs are turned the other way: by −sin.
    partial: which features are turned where tables are narrower than heads, the "first" or the
        "last"; the others pass through. "" where that was not proven.
    mixed: what becomes of 16 bits rotated by tables in float32: "kept", "promoted" to float32; ""
        where that was not proven.
    """

    pairing: str
    table: str
    backwards: bool = False
    partial: str = ""
    mixed: str = ""
    layouts: tuple[Layout, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Rotation:
        """Of what a verdict keeps."""
        layouts = tuple(Layout(*layout) for layout in options["layouts"])
        return cls(**{**options, "layouts": layouts})

    @property
    def options(self) -> dict[str, Any]:
        """What a verdict keeps, the same when it was read from a file."""
        return {**asdict(self), "layouts": [list(layout) for layout in self.layouts]}

    def __str__(self) -> str:
        words = [f"{self.pairing} pairs", f"table: {self.table}"]
        words += ["backwards"] * self.backwards + ["the last features"] * (self.partial == "last")
        return ", ".join(words)

    def serves(
        self, tensors: Sequence[Tensor], cos: Tensor, sin: Tensor, unsqueeze: int | None
    ) -> int | None:
        """Where the heads are, in a call that was proven; None for any other."""
        for t in (*tensors, cos, sin):
            if type(t) is not Tensor:
                return None  # as a DTensor, or None
        x = tensors[0]
        called = (x.ndim, cos.ndim, unsqueeze)
        for layout in self.layouts:
            if layout[:3] == called:
                heads_dim = layout[3]
                break
        else:
            return None
        fits = self._fits(heads_dim, tensors, cos) and self._serves_dtypes(tensors, cos)
        if not fits or not _alike(cos, sin) or not (x.is_cuda or interpreted()):
            return None
        learns = (cos.requires_grad or sin.requires_grad) and torch.is_grad_enabled()
        return None if learns or cos.device != x.device else heads_dim

    def _serves_dtypes(self, tensors: Sequence[Tensor], cos: Tensor) -> bool:
        dtype = tensors[0].dtype
        if dtype not in SUPPORTED or tensors[-1].dtype != dtype:
            return False
        return cos.dtype == dtype or (bool(self.mixed) and cos.dtype == torch.float32)

    def _fits(self, heads_dim: int, tensors: Sequence[Tensor], cos: Tensor) -> bool:
        x, other = tensors[0], tensors[-1]
        *tokens, width = x.shape
        rotary = cos.shape[-1] * (2 if self.table == "value for each pair" else 1)
        if rotary % 2 or (rotary != width and not (self.partial and rotary < width)):
            return False
        if other is not x:
            expected = list(x.shape)
            expected[heads_dim] = other.shape[heads_dim] if other.ndim == x.ndim else 0
            if list(other.shape) != expected or other.device != x.device:
                return False
        del tokens[heads_dim]
        *given, _ = cos.shape
        wanted = tokens[len(tokens) - len(given) :]
        return given == wanted or all(n == m or n == 1 for n, m in zip(given, wanted, strict=True))

    def takes_norms(self, x: Tensor, cos: Tensor) -> bool:
        """Whether, in such a call, one kernel normalises heads and turns them as this does."""
        return self.partial != "last" and (self.mixed != "promoted" or cos.dtype == x.dtype)

    def __call__(
        self,
        tensors: Sequence[Tensor],
        cos: Tensor,
        sin: Tensor,
        heads_dim: int,
        norms: Sequence[Norm] = (),
    ) -> Tensor | tuple[Tensor, Tensor]:
        """What the function gives, of what these norms give."""
        if self.table == "its first half":
            half = cos.shape[-1] // 2
            cos, sin = cos[..., :half], sin[..., :half]
        if self.backwards:
            sin = -sin
        if self.mixed == "promoted" and cos.dtype != tensors[0].dtype:
            tensors = [t.to(cos.dtype) for t in tensors]
        if self.partial == "last":
            return self._turn_last(tensors, cos, sin, heads_dim)
        if norms:
            return self._turn_normed(tensors, cos, sin, heads_dim, norms)
        return self._turn(tensors, cos, sin, heads_dim)

    def _turn(
        self, tensors: Sequence[Tensor], cos: Tensor, sin: Tensor, heads_dim: int
    ) -> Tensor | tuple[Tensor, Tensor]:
        if len(tensors) == 1:
            return rope(
                tensors[0], None, cos, sin, self.pairing, self._per_pair, heads_dim=heads_dim
            )
        q, k = tensors
        return rope(q, k, cos, sin, self.pairing, self._per_pair, heads_dim=heads_dim)

    def _turn_normed(
        self,
        tensors: Sequence[Tensor],
        cos: Tensor,
        sin: Tensor,
        heads_dim: int,
        norms: Sequence[Norm],
    ) -> tuple[Tensor, Tensor]:
        (q, k), (q_norm, k_norm) = tensors, norms
        return qk_norm_rope(
            q,
            k,
            q_norm.weight,
            k_norm.weight,
            cos,
            sin,
            q_norm.eps,
            q_norm.offset,
            self.pairing,
            self._per_pair,
            heads_dim=heads_dim,
        )

    def _turn_last(
        self, tensors: Sequence[Tensor], cos: Tensor, sin: Tensor, heads_dim: int
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The kernel turns the first features of what it is given."""
        rotary = cos.shape[-1] * (2 if self._per_pair else 1)
        passing = tensors[0].shape[-1] - rotary
        turned = self._turn([t[..., passing:] for t in tensors], cos, sin, heads_dim)
        if isinstance(turned, Tensor):
            return torch.cat([tensors[0][..., :passing], turned], -1)
        (q, k), (yq, yk) = tensors, turned
        return torch.cat([q[..., :passing], yq], -1), torch.cat([k[..., :passing], yk], -1)

    @property
    def _per_pair(self) -> bool:
        return self.table != "column for each feature"


def _is_pairs(table: object) -> bool:
    """Whether it is of cosines and sines, as complex numbers."""
    return type(table) is Tensor and table.dtype == torch.complex64


def _alike(cos: Tensor, sin: Tensor) -> bool:
    return cos.shape == sin.shape and cos.dtype == sin.dtype and cos.device == sin.device


def replacement(original: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """`rope` for the calls that were proven, `original` for any other."""
    rotation, arguments = Rotation.of(options), Arguments.of(original)
    if arguments is None:
        raise TypeError(f"{original} is no rotary function")

    def rotate(*args: Any, **kwargs: Any) -> Any:
        call = arguments.bind(args, kwargs)
        if call is None:
            return original(*args, **kwargs)
        tensors, tables, unsqueeze = call
        if len(tables) == 1:
            if not _is_pairs(tables[0]):
                return original(*args, **kwargs)
            tables = torch.view_as_real(tables[0].resolve_conj()).unbind(-1)
        cos, sin = tables
        left = pending_of(tensors)
        if left is not None and rotation.takes_norms(left[0].x, cos):
            tensors = [pending.moved for pending in left]
        else:
            tensors, left = [read(t) for t in tensors], None
        heads_dim = rotation.serves(tensors, cos, sin, unsqueeze)
        if heads_dim is None:
            return original(*args, **kwargs)
        return rotation(tensors, cos, sin, heads_dim, [p.norm for p in left or ()])

    rotate.__dict__["__wrapped__"] = original
    return rotate
