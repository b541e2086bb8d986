"""Modules of one class that a recipe's own code serves: `recipes/<type>/rules.py`.

    from workbench_kernels.patching.replaced import Replaced, rows

    def forward(self, hidden_states):
        return rms_norm(hidden_states, None, self.g, eps=1e-6) * self.gain

    RULES = (Replaced("some.module.GainedNorm", "norm", "rms_norm", rows, forward),)

It is for what no rule and no hint serves. It is proven like everything else: outputs and gradients,
of what it is given and of every parameter, on random values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.patching.instance import bind, own_forward
from workbench_kernels.patching.proof import dtypes_of, prove_each
from workbench_kernels.patching.recipe import class_name
from workbench_kernels.patching.rule import Undo, Verdict, where
from workbench_kernels.patching.verdicts import code_of

_ROWS = 12


@dataclass(frozen=True)
class Replaced:
    """name: the class, as recipes name it. kind: what `patch(model, only=…)` calls them. kernel:
    the library's op that does the work.
    draw: of a module, what its forward is given to be proven, by its arguments' names, in float32.
    forward: what computes in its place, given the module and those; at the top of its file.
    """

    name: str
    kind: str
    kernel: str
    draw: Callable[[nn.Module], Mapping[str, Tensor]]
    forward: Callable[..., Tensor]
    mode: str = "by the recipe's code"

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By their class."""
        for path, module in model.named_modules():
            if class_name(module) == self.name:
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """As its own forward, in the dtype of its parameters and in bfloat16."""
        given = [*self.draw(module)]

        def theirs(**tensors: Tensor) -> Tensor:
            return _call(module, own_forward(module), given, tensors)

        def ours(**tensors: Tensor) -> Tensor:
            return _call(module, self._forward(module), given, tensors)

        cases = (self._case(module, dtype) for dtype in dtypes_of(module))
        found = prove_each(theirs, ours, cases)
        if found.wrong:
            return Verdict(reason=f"{self.kernel}, {self.mode}: {found.wrong}")
        return Verdict(self.kernel, self.mode, {}, found.ratio, found.same)

    def told(self, module: nn.Module) -> str:
        """What a verdict on the module depends on besides: the code."""
        return f"{self.kernel} {self.mode} {code_of(self.draw)} {code_of(self.forward)}"

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward is the recipe's."""
        return bind(module, self.forward, None)

    def _forward(self, module: nn.Module) -> Callable[..., Tensor]:
        return lambda **given: self.forward(module, **given)

    def _case(self, module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
        """What it is given, and parameters unlike those of a new module, which hide much."""
        chance = torch.Generator().manual_seed(0)
        parameters = dict(module.named_parameters())
        drawn = {
            name: p.detach().cpu() * (0.5 + torch.rand(p.shape, generator=chance)) + 0.05
            for name, p in parameters.items()
        }
        tensors = {**self.draw(module), **drawn}
        return {name: t.to(where(module), dtype) for name, t in tensors.items()}


def rows(module: nn.Module) -> dict[str, Tensor]:
    """Rows as wide as the module's first parameter, of very different size."""
    width = next(module.parameters()).shape[-1]
    chance = torch.Generator().manual_seed(1)
    scale = torch.logspace(-3.5, 2, _ROWS)[:, None]
    return {"hidden_states": scale * (torch.randn(_ROWS, width, generator=chance) + 0.2)}


def _call(
    module: nn.Module,
    forward: Callable[..., Any],
    given: list[str],
    tensors: Mapping[str, Tensor],
) -> Tensor:
    """A forward with these tensors in the place of the module's parameters."""
    parameters = {name: t for name, t in tensors.items() if name not in given}
    with torch.nn.utils.stateless._reparametrize_module(module, parameters):
        y: Tensor = forward(**{name: tensors[name] for name in given})
    return y
