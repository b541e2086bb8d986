"""Experts of transformers that keep gate and up of all experts in one tensor: between their two
grouped products they call a method of their own, `_apply_gate`, with both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.patching import gated
from workbench_kernels.patching.instance import SETTINGS, bind
from workbench_kernels.patching.proof import Proof, dtypes_of, prove_each
from workbench_kernels.patching.rule import Undo, Verdict, where
from workbench_kernels.patching.standin import draw_weights, stand_in

_METHOD = "_apply_gate"
# Nothing in the method knows how wide a gate is.
_WIDTH = 96
_ROWS = 6
_SPREAD = 5.0


class Experts:
    """Modules with a method that makes the gated product of one tensor."""

    kind = "experts"

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By that method, if it is used: some have it without a gate."""
        for path, module in model.named_modules():
            if hasattr(type(module), _METHOD) and getattr(module, "has_gate", True):
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """Which product the method makes."""
        if not _is_called(module):
            return Verdict(
                reason=f"its eager forward does not call {_METHOD}; with "
                'model.set_experts_implementation("grouped_mm") it does'
            )
        own: Callable[..., Tensor] = getattr(type(module), _METHOD)
        drawn = gated.draw((_ROWS,), 2 * _WIDTH, where(module))
        both, twin = gated.sized(drawn), stand_in(module, draw_weights(module))
        with torch.no_grad():
            how = gated.find(twin, own, [both], own(twin, both.clone()))
        if how is None:
            calls = [type(child).__name__ for child in module.children()]
            with_them = f", with {', '.join(calls)}" if calls else ""
            return Verdict(reason=f"{_METHOD} makes no product that glu computes{with_them}")
        found = _prove(module, own, how, drawn)
        if found.wrong:
            return Verdict(reason=f"glu, {gated.in_words(how)}: {found.wrong}")
        return Verdict("glu", gated.in_words(how), how, found.ratio, found.same)

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its method calls the kernel."""
        return bind(module, _apply_gate, dict(verdict.options), _METHOD)


def _apply_gate(self: nn.Module, gate_up: Tensor) -> Tensor:
    """The bound method."""
    if not gated.is_served([gate_up]):
        own: Tensor = getattr(type(self), _METHOD)(self, gate_up)
        return own
    return gated.join(self, [gate_up], self.__dict__[SETTINGS])


def _is_called(module: nn.Module) -> bool:
    """All grouped implementations call it; the class's own forward may do without."""
    config = getattr(module, "config", None)
    grouped = getattr(config, "_experts_implementation", None) not in (None, "eager")
    code = getattr(unwrap(type(module).forward), "__code__", None)
    return grouped or _METHOD in getattr(code, "co_names", ())


def _prove(
    module: nn.Module, own: Callable[..., Tensor], how: dict[str, Any], drawn: Tensor
) -> Proof:
    """The method against the kernel: results and gradients."""

    def theirs(gate_up: Tensor, **weights: Tensor) -> Tensor:
        return own(stand_in(module, weights), gate_up * 1)  # no leaf: it may be written into

    def ours(gate_up: Tensor, **weights: Tensor) -> Tensor:
        return gated.join(stand_in(module, weights), [gate_up], how)

    spread = max(_SPREAD, how["glu"].get("limit", 0.0))  # so that some is beyond it
    tensors = {"gate_up": spread * drawn, **draw_weights(module)}
    dtypes = dtypes_of(module)
    cases = ({name: t.to(dtype) for name, t in tensors.items()} for dtype in dtypes)
    return prove_each(theirs, ours, cases)
