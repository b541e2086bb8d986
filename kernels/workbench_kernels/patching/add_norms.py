"""The sum of two streams and the norm of it, one kernel for both: `fused_add_rms_norm`.

A layer whose forward has, one after the other,

    hidden_states = residual + hidden_states
    residual = hidden_states
    hidden_states = self.post_attention_layernorm(hidden_states)

gets a copy of that forward, in which the sum and the norm are made at once (`rewritten.py`). Only
norms that are served already are taken, and a call takes them only where both are what was proven:
two plain tensors of one shape and dtype, and a norm that nobody watches. Anything else is added and
normalised as it was. The sum that a layer ends with and the norm that the next begins with stay
apart: between layers checkpoints, hooks and caches may ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from workbench_kernels.fused_add_rms_norm.wrapper import fused_add_rms_norm
from workbench_kernels.launch import SUPPORTED, interpreted
from workbench_kernels.patching import norms
from workbench_kernels.patching.functions import rebound_forward
from workbench_kernels.patching.instance import BOUND, SETTINGS, bind, goes_with
from workbench_kernels.patching.layouts import ROWS
from workbench_kernels.patching.proof import Proof, dtypes_of, prove_each, worst
from workbench_kernels.patching.rewritten import Rewritten, normed_sums, rewritten
from workbench_kernels.patching.rule import Undo, Verdict


class AddNorms:
    """Modules that normalise a sum as soon as they have made it, by a norm that is served."""

    kind = "add_norm"

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By the source of their class's forward, and by what serves their children."""
        for path, module in model.named_modules():
            if "forward" not in vars(module) and _taken(module):
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """Sum and norm, by the norm's own forward, against the one kernel."""
        names = _taken(module)
        _settings(module, names)  # what can't be rewritten is not served
        found = worst([_prove(module.get_submodule(name)) for name in names])
        if found.wrong:
            return Verdict(reason=f"fused_add_rms_norm: {found.wrong}")
        words = f"{' and '.join(names)}, and the sum before"
        return Verdict("fused_add_rms_norm", words, {"takes": names}, found.ratio, found.same)

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward makes both at once."""
        return bind(module, rebound_forward, _settings(module, verdict.options["takes"]))


def _settings(module: nn.Module, names: list[str]) -> Rewritten:
    return rewritten(type(module), tuple(names), add_norm)


def _taken(module: nn.Module) -> list[str]:
    """Its norms whose input is a sum that was made just before."""
    return [name for name in normed_sums(type(module).forward) if _is_served(module, name)]


def _is_served(module: nn.Module, name: str) -> bool:
    try:
        settings = vars(module.get_submodule(name)).get(SETTINGS)
    except AttributeError:  # no module is called so
        return False
    if not isinstance(settings, norms.Settings):
        return False
    return (settings.kernel, settings.layout) == ("rms_norm", ROWS)


def add_norm(norm: nn.Module, one: Any, other: Any) -> tuple[Any, Any]:
    """The norm of the sum, and the sum."""
    settings = norm.__dict__.get(SETTINGS)
    if isinstance(settings, norms.Settings) and _is_called_plainly(norm):
        weight = norm._parameters.get(settings.weight)
        if _are_proven(settings, one, other, weight):
            return fused_add_rms_norm(one, other, weight, **settings.options)
    total = one + other
    return norm(total), total


def _is_called_plainly(norm: nn.Module) -> bool:
    """Whether a call of it is a call of what it was served by, and of nothing else."""
    own = norm.__dict__
    watched = norm._forward_hooks or norm._forward_pre_hooks
    watched = watched or norm._backward_hooks or norm._backward_pre_hooks
    return own.get("forward") is own[BOUND] and not watched and not _has_any_global_hook()


def _are_proven(settings: norms.Settings, one: Any, other: Any, weight: Any) -> bool:
    """Whether the kernel takes these, as `norms.forward` would take their sum."""
    if type(one) is not Tensor or type(other) is not Tensor:
        return False
    ranks = settings.ranks
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and one.dtype in SUPPORTED
        and one.device == other.device
        and (one.is_cuda or interpreted())
        and (ranks is None or one.dim() in ranks)
        and (weight is None or goes_with(weight, one))
    )


def _prove(norm: nn.Module) -> Proof:
    settings, own = norm.__dict__[SETTINGS], norms.with_parameters(norm)
    names = [name for name, _ in norm.named_parameters(recurse=False)]

    def theirs(x: Tensor, residual: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        total = residual + x
        return own(input=total, **parameters), total

    def ours(x: Tensor, residual: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        weight = parameters.get(settings.weight)
        return fused_add_rms_norm(residual, x, weight, **settings.options)

    return prove_each(theirs, ours, _cases(norm, names))


def _cases(norm: nn.Module, names: list[str]) -> Iterator[Mapping[str, Tensor]]:
    for dtype in dtypes_of(norm):
        drawn = norms.draw(norm, ["x", "residual"], names, dtype)
        yield {**drawn, "residual": drawn["residual"] * drawn["x"].abs().amax(-1, keepdim=True)}
