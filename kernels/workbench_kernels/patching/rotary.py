"""Rotary functions that attention calls: pairs of features, turned by tables of cosines and sines.

An attention is told from other modules by what its forward names: a function of tensors, cos and
sin, or of complex numbers. That is called with random values and tables, whose columns have nothing
to do with each other, to see which rotation it is, for which layouts, widths and dtypes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench_kernels.launch import SUPPORTED
from workbench_kernels.patching.functions import (
    Rebound,
    named_globals,
    rebound,
    rebound_forward,
)
from workbench_kernels.patching.instance import SETTINGS, bind
from workbench_kernels.patching.proof import Proof, prove, worst
from workbench_kernels.patching.rotation import (
    Arguments,
    Layout,
    Rotation,
    is_rotary,
    replacement,
)
from workbench_kernels.patching.rule import Undo, Verdict, where
from workbench_kernels.patching.verdicts import code_of
from workbench_kernels.rotary import PAIRINGS

# Different from each other, so that no function takes one dimension for another unseen.
_BATCH, _TOKENS, _HEADS, _KV_HEADS, _WIDTH = 2, 5, 3, 4, 16
_TABLES = ("column for each feature", "its first half", "value for each pair")
_TOLD = (
    Layout(4, 3, 1, 1),
    Layout(4, 3, 2, 2),
    Layout(4, 2, 0, 1),
    Layout(3, 2, 0, 0),
    Layout(3, 2, 1, 1),
)
_UNTOLD = (
    Layout(4, 3, None, 1),
    Layout(4, 3, None, 2),
    Layout(4, 2, None, 1),
    Layout(4, 2, None, 2),
    Layout(3, 2, None, 0),
    Layout(3, 2, None, 1),
)
_WIDEST = 512
Draw = dict[str, Tensor]


class Turn(NamedTuple):
    """A function that turns queries and keys at once: what it computes, a call of it with q, k, cos
    and sin, and such tensors, of heads of a width, in a dtype.
    """

    rotation: Rotation
    call: Callable[[Tensor, Tensor, Tensor, Tensor], Any]
    draw: Callable[[int, torch.dtype], Draw]


class RotaryFunctions:
    """Modules whose forward calls a rotary function by its global name."""

    kind = "rope"

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[Rotation, Proof] | _Unserved] = {}

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By the globals that their class's forward names."""
        known: dict[type, bool] = {}
        for path, module in model.named_modules():
            kind = type(module)
            if kind not in known:
                known[kind] = bool(_rotary_functions(module))
            if known[kind]:
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """What each of the functions computes. One that `rope` does not is called as before."""
        served: dict[str, Any] = {}
        words, reasons, proofs = [], [], []
        for name, function in _rotary_functions(module).items():
            try:
                rotation, proof = self._prove(function, module)
            except _Unserved as error:
                reasons.append(f"{name}: {error}")
                continue
            served[name] = rotation.options
            words.append(f"{name}: {rotation}")
            proofs.append(proof)
        if not served:
            return Verdict(reason="; ".join(reasons))
        rebound(type(module), replacement, served)  # what can't be copied is not served
        same = [proof.same for proof in proofs if proof.same is not None]
        return Verdict(
            "rope",
            "; ".join(words + [f"left alone, {reason}" for reason in reasons]),
            {"functions": served},
            max(proof.ratio for proof in proofs),
            min(same, default=None),
        )

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward names functions that call the kernel."""
        settings = rebound(type(module), replacement, verdict.options["functions"])
        return bind(module, rebound_forward, settings)

    def _prove(self, function: Callable[..., Any], module: nn.Module) -> tuple[Rotation, Proof]:
        """Layers of a model have the function in common, and its proof."""
        device = where(module)
        key = (code_of(function), _widths(module), device)
        if key not in self._known:
            try:
                self._known[key] = _Probe(function, device).prove(_widths(module))
            except _Unserved as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, _Unserved):
            raise known
        return known


def of_two(module: nn.Module) -> list[Turn]:
    """Its functions that are served and turn queries and keys at once, called as their first layout
    says.
    """
    served = vars(module).get(SETTINGS)
    if not isinstance(served, Rebound):
        return []
    found = []
    for name, options in served.options.items():
        rotation, probe = Rotation.of(options), _Probe(served.seen[name], where(module))
        if probe.turns_two:
            found.append(probe.turn(rotation))
    return found


class _Unserved(Exception):
    """Why a function is left alone."""


def _rotary_functions(module: nn.Module) -> dict[str, Any]:
    known = named_globals(type(module).forward)
    return {name: function for name, function in known.items() if is_rotary(function)}


def _widths(module: nn.Module) -> tuple[int, ...]:
    """How wide its heads may be, as its attributes have it."""
    words = ("head_dim", "head_size", "rope", "rotary")
    named = [v for n, v in vars(module).items() if any(word in n for word in words)]
    return tuple(sorted({v for v in named if type(v) is int and 0 < v <= _WIDEST and v % 2 == 0}))


class _Case(NamedTuple):
    """A call: its layout, the width of heads and of tables, the dtypes of both."""

    layout: Layout
    columns: int
    width: int = _WIDTH
    tokens: int = _TOKENS
    table_batch: int = _BATCH
    dtype: torch.dtype = torch.float32
    table_dtype: torch.dtype = torch.float32

    def draw(self, device: torch.device, names: tuple[str, ...]) -> Draw:
        """Random heads and tables; of each dimension another size."""
        chance = torch.Generator().manual_seed(0)
        tensors = {}
        for name, heads in zip(names, (_HEADS, _KV_HEADS), strict=False):
            shape = [_BATCH, self.tokens, self.width][3 - self.layout.ndim + 1 :]
            shape.insert(self.layout.heads_dim, heads)
            tensors[name] = torch.randn(shape, generator=chance).to(device, self.dtype)
        shape = [self.table_batch, self.tokens, self.columns][3 - self.layout.table_ndim :]
        angles = 100 * torch.rand(shape, generator=chance)
        tensors["cos"] = angles.cos().to(device, self.table_dtype)
        tensors["sin"] = (angles + torch.rand(shape, generator=chance)).sin()
        tensors["sin"] = tensors["sin"].to(device, self.table_dtype)
        return tensors


class _Probe:
    """One rotary function, and how it is called."""

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        try:
            arguments = Arguments.of(function)
        except TypeError as error:
            raise _Unserved(str(error)) from None
        assert arguments is not None  # it is a candidate
        self._function, self._arguments, self._device = function, arguments, device
        self._complex = len(arguments.tables) == 1

    @property
    def turns_two(self) -> bool:
        """Whether it is given queries and keys at once."""
        return len(self._arguments.tensors) == 2

    def turn(self, rotation: Rotation) -> Turn:
        """It, called as the rotation's first layout says."""
        half = rotation.table == "value for each pair"
        case = _Case(rotation.layouts[0], columns=0)
        theirs, names = self._theirs(case), self._arguments.tensors

        def call(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
            return theirs(cos, sin, **dict(zip(names, (q, k), strict=True)))

        def draw(width: int, dtype: torch.dtype) -> Draw:
            columns = width // 2 if half else width
            sized = case._replace(columns=columns, width=width, dtype=dtype, table_dtype=dtype)
            return sized.draw(self._device, ("q", "k"))

        return Turn(rotation, call, draw)

    def prove(self, widths: tuple[int, ...]) -> tuple[Rotation, Proof]:
        """Find the rotation, then prove it in all that it will be called with.

        Raises:
            _Unserved: it is none, or not in all that it accepts.
        """
        first, rotation = self._find()
        layouts = [first.layout]
        for layout in _TOLD if self._arguments.unsqueezes else _UNTOLD:
            if layout != first.layout and self._accepts(first._replace(layout=layout)):
                layouts.append(layout)
        rotation = replace(rotation, layouts=tuple(layouts))
        narrow = first._replace(columns=first.columns // 2)
        if self._accepts(narrow):
            # The first, for all that is wrong then, if it is neither.
            last = self._is(replace(rotation, partial="last"), narrow)
            rotation = replace(rotation, partial="last" if last else "first")
        mix = first._replace(dtype=torch.bfloat16)
        if self._accepts(mix):
            got = self._theirs(mix)(**mix.draw(self._device, self._arguments.tensors))
            kept = _first(got).dtype == torch.bfloat16
            rotation = replace(rotation, mixed="kept" if kept else "promoted")

        cases = [first._replace(layout=layout) for layout in layouts]
        cases += [case._replace(table_batch=1) for case in cases if case.layout.table_ndim == 3]
        cases += [narrow] * bool(rotation.partial)
        cases += [
            first._replace(tokens=1, width=w, columns=first.columns * w // first.width)
            for w in widths
        ]
        if not self._complex:
            cases += [first._replace(dtype=d, table_dtype=d) for d in SUPPORTED[1:]]
        if rotation.mixed:
            cases += [first._replace(dtype=d) for d in SUPPORTED[1:]]
        proofs = [self._prove_case(case, rotation) for case in cases]
        return rotation, worst(proofs)

    def _find(self) -> tuple[_Case, Rotation]:
        """The first call that it accepts, and the rotation that gives what it does."""
        layouts = _TOLD if self._arguments.unsqueezes else _UNTOLD
        for columns, layout in product((_WIDTH, _WIDTH // 2), layouts):
            case = _Case(layout, columns)
            if not self._accepts(case):
                continue
            for form in product(PAIRINGS, _TABLES, (False, True)):
                if self._is(Rotation(*form), case):
                    return case, Rotation(*form)
            raise _Unserved("no rotation of pairs computes what it does")
        raise _Unserved("it takes heads and tables of no shape that is known")

    def _is(self, rotation: Rotation, case: _Case) -> bool:
        """Whether it gives about what the rotation gives."""
        drawn = case.draw(self._device, self._arguments.tensors)
        wanted = self._theirs(case)(**drawn)
        try:
            got = self._ours(case, rotation)(**drawn)
            torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)
        except (AssertionError, ValueError):  # a ValueError: such tables don't fit the kernel
            return False
        return True

    def _accepts(self, case: _Case) -> bool:
        """Whether it gives something of the shape it was given, for such a call."""
        drawn = case.draw(self._device, self._arguments.tensors)
        try:
            got = _first(self._theirs(case)(**drawn))
        except Exception:  # it may raise what it likes
            return False
        return isinstance(got, Tensor) and got.shape == next(iter(drawn.values())).shape

    def _prove_case(self, case: _Case, rotation: Rotation) -> Proof:
        drawn = case.draw(self._device, self._arguments.tensors)
        proof = prove(
            self._theirs(case), self._ours(case, rotation), drawn, self._arguments.tensors
        )
        if proof.wrong:
            raise _Unserved(f"{rotation}, but not for {_say(case)}: {proof.wrong}")
        return proof

    def _theirs(self, case: _Case) -> Callable[..., Any]:
        def call(cos: Tensor, sin: Tensor, **tensors: Tensor) -> Any:
            tables = [torch.complex(cos.float(), sin.float())] if self._complex else [cos, sin]
            given: dict[str, Any] = {**tensors}
            given.update(zip(self._arguments.tables, tables, strict=True))
            if case.layout.unsqueeze is not None:
                given["unsqueeze_dim"] = case.layout.unsqueeze
            return self._function(**given)

        return call

    def _ours(self, case: _Case, rotation: Rotation) -> Callable[..., Any]:
        def call(cos: Tensor, sin: Tensor, **tensors: Tensor) -> Any:
            return rotation([*tensors.values()], cos, sin, case.layout.heads_dim)

        return call


def _first(got: Any) -> Any:
    return got[0] if isinstance(got, tuple) and got else got


def _say(case: _Case) -> str:
    shape = f"{case.width} features with tables of {case.columns}"
    return f"{shape} in {case.dtype}, {case.layout}"
