"""A module whose children cost next to nothing, however wide they are: what it computes besides
them shows, and what it calls them with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench_kernels.patching.rule import where


class Call(NamedTuple):
    """A child that was called, with what, and what it gave."""

    name: str
    input: Tensor
    output: Tensor


def sizes(module: nn.Module) -> tuple[int, int] | None:
    """How wide a projection's input and output are. Wrapped and quantised ones say so, too; what
    has a single child is as wide as that.
    """
    given, gives = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(given, int) and isinstance(gives, int):
        return given, gives
    children = list(module.children())
    return sizes(children[0]) if len(children) == 1 else None


def is_stateless(module: nn.Module) -> bool:
    """Whether it has neither parameters nor buffers, as an activation."""
    return next(module.parameters(), None) is None and next(module.buffers(), None) is None


def is_activation(child: nn.Module) -> bool:
    """Whether a child computes something of its own, without any weight: a stand-in keeps it."""
    passive = isinstance(child, nn.modules.dropout._DropoutNd | nn.Identity)
    return is_stateless(child) and not passive and sizes(child) is None


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What it has itself: parameters, buffers, and other attributes."""
    named = {**vars(module), **module._parameters, **module._buffers}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def draw_weights(module: nn.Module) -> dict[str, Tensor]:
    """In float64, by the name of each child but activations: a number for each column that it
    gives, or a single one where it gives as many as it is given. And values for the module's own
    numbers and vectors, unlike those of a new module: there a factor of 1 hides.
    """
    chance = torch.Generator().manual_seed(0)
    drawn = {}
    for name, child in module.named_children():
        if not is_activation(child):
            widths = sizes(child)
            shape = () if widths is None else (widths[1],)
            values = torch.randn(shape, generator=chance, dtype=torch.float64)
            drawn[name] = values + values.sign()
    for name, own in own_tensors(module).items():
        if own.is_floating_point() and own.dim() < 2:
            drawn[name] = 0.4 + torch.rand(own.shape, generator=chance, dtype=torch.float64)
    return {name: values.to(where(module)) for name, values in drawn.items()}


def stand_in(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    calls: list[Call] | None = None,
    *,
    training: bool = False,
) -> nn.Module:
    """The module with these weights: a child's output is its input, repeated or cut to its width,
    times its weight. Nothing else is copied, and no hook is called. `calls` takes notes.
    """
    twin = _shell(module)
    boxes = {
        name: _box(name, child, weights[name], calls)
        for name, child in module.named_children()
        if name in weights
    }
    own = {name: t for name, t in weights.items() if name not in boxes}
    twin.__dict__["_modules"] = {**module._modules, **boxes}
    for kind in ("_parameters", "_buffers"):
        twin.__dict__[kind] = {n: t for n, t in module.__dict__[kind].items() if n not in own}
    twin.__dict__.update(own, training=training)
    return twin


def _shell(module: nn.Module) -> nn.Module:
    """Another module with the same attributes, not yet copied."""
    twin: nn.Module = object.__new__(type(module))
    twin.__dict__.update(module.__dict__)
    return twin


def _box(name: str, child: nn.Module, weight: Tensor, calls: list[Call] | None) -> nn.Module:
    """What has the child's class and attributes, but this weight, and computes next to nothing."""

    def forward(input: Tensor) -> Tensor:
        x = input
        if weight.dim():
            x = x[..., torch.arange(len(weight), device=x.device) % x.shape[-1]]
        output = x * weight
        if calls is not None:
            calls.append(Call(name, input.clone(), output.clone()))
        return output

    box = _shell(child)
    box.__dict__.update({key: value for key, value in vars(nn.Module()).items() if "hook" in key})
    box.__dict__.update(_parameters={}, weight=weight, forward=forward, _compiled_call_impl=None)
    return box
