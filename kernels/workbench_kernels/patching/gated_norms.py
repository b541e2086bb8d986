"""RMSNorms with a gate, before what is normalised or after it, of a whole row or in groups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.gated_rms_norm.wrapper import gated_rms_norm
from workbench_kernels.launch import SUPPORTED
from workbench_kernels.patching.instance import SETTINGS, bind
from workbench_kernels.patching.layouts import parts_of
from workbench_kernels.patching.norms import draw, epsilons, taken_by, with_parameters
from workbench_kernels.patching.proof import Proof, prove
from workbench_kernels.patching.rule import Undo, Verdict

# Sums in another order, and what comes of a boundary that the gate is applied behind.
_SAME = 0.98


class GatedNorms:
    """Modules without children that have a weight and take rows and a gate."""

    kind = "norm"

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By a weight of one dimension, an epsilon, and a forward that takes two."""
        for path, module in model.named_modules():
            parameters = dict(module.named_parameters(recurse=False))
            alone = not any(True for _ in module.children()) and parameters.keys() == {"weight"}
            flat = alone and parameters["weight"].dim() == 1 and epsilons(module)
            if flat and len(taken_by(module)) == 2:
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """The way whose results have the most bits in common with the module's, if it is right."""
        best, wrong = Verdict(), ""
        for options in _ways(module):
            found = _prove(module, options)
            wrong = wrong or found.wrong
            if not found.wrong and (found.same or 0.0) > (best.same or 0.0):
                mode = ", ".join(f"{n}={v}" for n, v in options.items() if n != "eps")
                best = Verdict("gated_rms_norm", mode, options, found.ratio, found.same)
        if not best.kernel:
            return Verdict(reason=f"no gated norm computes what it does: {wrong}")
        if (best.same or 0.0) < _SAME:
            return Verdict(reason=f"only {best.same:.1%} of {best.kernel}'s results are the same")
        return best

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward calls the kernel, where it is given a gate."""
        return bind(module, _forward, dict(verdict.options))


def _ways(module: nn.Module) -> Iterator[dict[str, Any]]:
    """What the kernel may be called with; how many groups a row has, its numbers may say."""
    width = len(next(module.parameters(recurse=False)))
    counts = parts_of(module, width)
    choices = product(epsilons(module), counts, (True, False), ("silu", "sigmoid"), _ROUNDINGS)
    for eps, groups, first, activation, rounding in choices:
        yield {
            "eps": eps,
            "gate_first": first,
            "activation": activation,
            "num_groups": groups,
            "rounding": rounding,
        }


_ROUNDINGS = ("once", "before_weight")


def _prove(module: nn.Module, options: dict[str, Any]) -> Proof:
    """In bfloat16, where roundings show, and if that is right in the dtype of its weight."""

    def ours(input: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
        return gated_rms_norm(input, gate, weight, **options)

    dtype = next(module.parameters(recurse=False)).dtype
    found = prove(
        with_parameters(module),
        ours,
        draw(module, ["input", "gate"], ["weight"], torch.bfloat16),
    )
    if found.wrong or dtype not in SUPPORTED or dtype is torch.bfloat16:
        return found
    wide = prove(with_parameters(module), ours, draw(module, ["input", "gate"], ["weight"], dtype))
    return Proof(max(found.ratio, wide.ratio), found.same, wide.wrong)


def _forward(self: nn.Module, input: Tensor, *gate: Tensor, **named: Tensor) -> Tensor:
    """The bound forward."""
    weight = self._parameters["weight"]
    given = *gate, *named.values()
    if weight is None or [t.dtype for t in given if t is not None] != [weight.dtype]:
        y: Tensor = type(self).forward(self, input, *gate, **named)  # no gate, or of another dtype
        return y
    if input.dtype != weight.dtype or input.dtype not in SUPPORTED:
        return type(self).forward(self, input, *gate, **named)
    return gated_rms_norm(input, given[0], weight, **self.__dict__[SETTINGS])
