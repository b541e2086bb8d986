"""An implementation of experts for transformers' own registry of them, `ALL_EXPERTS_FUNCTIONS`.

    register_experts()
    model.set_experts_implementation("workbench")

Experts then make their grouped products as with "grouped_mm", and what lies between by `glu`, where
that is proven to be what the module's own method makes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from workbench_kernels.patching import gated
from workbench_kernels.patching.experts import Experts
from workbench_kernels.patching.rule import Undo
from workbench_kernels.patching.verdicts import Verdicts

NAME = "workbench"


def register_experts(*, verdicts: Verdicts | None = None) -> Undo:
    """Have `model.set_experts_implementation` and `from_pretrained(…, experts_implementation=…)`
    know "workbench". Returns what takes it back; set models to another one before.

    verdicts: where proofs are kept from one run to the next; None for the user's cache.

    A module is proven when it is first called. One whose method no kernel computes keeps it, and a
    warning says so.

    Raises:
        ImportError: transformers is not installed, or has no such registry.
    """
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, grouped_mm_experts_forward

    gates = _Gates(Verdicts.of_the_user() if verdicts is None else verdicts)

    # Called even while a compiler traces the forward, which takes a number, but no mapping, of it.
    @torch.compiler.assume_constant_result
    def find(module: nn.Module) -> int:
        return gates.find(module)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        how = gates.ways[find(self)]
        experts: Any = _Gated(self, how) if how else self
        y: Tensor = grouped_mm_experts_forward(experts, *args, **kwargs)
        return y

    ALL_EXPERTS_FUNCTIONS[NAME] = forward

    def undo() -> None:
        del ALL_EXPERTS_FUNCTIONS[NAME]

    return undo


class _Gates:
    """How the gates of modules are to be computed."""

    def __init__(self, verdicts: Verdicts) -> None:
        # The first is no way: for a module that keeps its own.
        self.ways: list[Mapping[str, Any]] = [{}]
        self._verdicts = verdicts
        self._found: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

    def find(self, module: nn.Module) -> int:
        """Which of `ways` is that of a module, proven when it is first asked for."""
        if module not in self._found:
            how = self._prove(module)
            if how not in self.ways:
                self.ways.append(how)
            self._found[module] = self.ways.index(how)
        return self._found[module]

    def _prove(self, module: nn.Module) -> Mapping[str, Any]:
        rule = Experts()
        if not any(found is module for _, found in rule.candidates(module)):
            return {}  # it has no gate
        verdict = self._verdicts.find(rule, module)
        self._verdicts.save()
        if not verdict.served:
            name = type(module).__name__
            warnings.warn(f"{name} keeps its own gate: {verdict.reason}", stacklevel=2)
        return verdict.options if verdict.served else {}


class _Gated:
    """A module's attributes, but for its gate. The module itself stays as it is, for whoever sets
    it to another implementation.
    """

    def __init__(self, module: nn.Module, how: Mapping[str, Any]) -> None:
        self._module = module
        self._how = how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def _apply_gate(self, gate_up: Tensor) -> Tensor:
        if not gated.is_served([gate_up]):
            y: Tensor = self._module._apply_gate(gate_up)  # type: ignore[operator]
            return y
        return gated.join(self._module, [gate_up], self._how)
