"""Replacing a method of one instance, so that it copies, pickles and compiles like its class's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

from torch import nn

from workbench_kernels.patching.rule import Undo

# What a bound forward is told, beside the module's own attributes.
SETTINGS = "_workbench_kernels"


def bind(
    module: nn.Module, forward: Callable[..., Any], settings: object, name: str = "forward"
) -> Undo:
    """From now on this instance's `name` is `forward(module, …)`, a function at the top of its
    module: then the instance can be copied and pickled. It finds `settings` under SETTINGS.
    """
    before = {key: module.__dict__[key] for key in (name, SETTINGS) if key in module.__dict__}
    # Not a method: one is pickled as an attribute of the instance, named like the function.
    module.__dict__[name] = partial(forward, module)
    module.__dict__[SETTINGS] = settings

    def undo() -> None:
        for key in (name, SETTINGS):
            module.__dict__.pop(key, None)
        module.__dict__.update(before)

    return undo


def own_forward(module: nn.Module) -> Callable[..., Any]:
    """The forward of the module's class, bound to it."""
    return MethodType(type(module).forward, module)
