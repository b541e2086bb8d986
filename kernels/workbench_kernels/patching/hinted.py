"""Norms of which a recipe says what no rule sees: what its parameters are called, its epsilon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.patching.instance import bind, own_forward
from workbench_kernels.patching.norms import Norms, epsilons, forward, settings_of, taken_by
from workbench_kernels.patching.recipe import PARAMETERS, Recipe, Served
from workbench_kernels.patching.rule import Undo, Verdict


class HintedNorms:
    """Modules of the classes that recipes have a hint for, proven as other norms are."""

    kind = Norms.kind

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        self._recipes = recipes

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By their class."""
        for path, module in model.named_modules():
            if self._hint(module) is not None:
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """As a norm with the names that the rule knows."""
        if others := taken_by(module)[1:]:
            return Verdict(reason=f"its forward takes {', '.join(others)} too")
        hint = self._hint(module)
        assert hint is not None
        return Norms().prove(_Renamed(module, hint))

    def told(self, module: nn.Module) -> str:
        """What a verdict on the module depends on besides: the hint."""
        return repr(self._hint(module))

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward calls the kernel, with the parameters that the module has then."""
        hint = self._hint(module)
        assert hint is not None
        names: dict[str, Any] = names_of(module, hint)
        return bind(module, forward, settings_of(verdict)._replace(**names))

    def _hint(self, module: nn.Module) -> Served | None:
        return next((h for r in self._recipes if (h := r.hint(module)) is not None), None)


def names_of(module: nn.Module, hint: Served) -> dict[str, Any]:
    """What the module calls its weight and its bias, of those it has."""
    given = {role: (hint.names or {}).get(role, role) for role in PARAMETERS}
    return {r: name for r, name in given.items() if module._parameters.get(name) is not None}


class _Renamed(nn.Module):
    """A norm as the rule wants it: its parameters' names, an epsilon. It computes what it did."""

    def __init__(self, module: nn.Module, hint: Served) -> None:
        super().__init__()
        self._names = names_of(module, hint)
        for role, name in self._names.items():
            self.register_parameter(role, module._parameters[name])
        self.eps = hint.eps if hint.eps is not None else next(iter(epsilons(module)))
        self.normalized_shape = getattr(module, "normalized_shape", None) or self._width()
        self._norm = (module,)  # no child of this one

    def _width(self) -> tuple[int, ...]:
        weight = next(iter(self._parameters.values()), None)
        if weight is None:
            raise ValueError("neither a parameter nor a shape says how wide its rows are")
        return tuple(weight.shape)

    def forward(self, input: Tensor) -> Tensor:
        (norm,) = self._norm
        parameters = {name: getattr(self, role) for role, name in self._names.items()}
        with torch.nn.utils.stateless._reparametrize_module(norm, parameters):
            y: Tensor = own_forward(norm)(input)
        return y
