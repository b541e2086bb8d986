"""Replacing a method of one instance, so that it copies, pickles and compiles like its class's."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import Tensor, nn

from workbench_kernels.patching.rule import Undo

# What a bound forward is told, beside the module's own attributes.
SETTINGS = "_workbench_kernels"
# What was bound, for a forward that is put over it and calls it.
BOUND = "_workbench_kernels_bound"


def bind(
    module: nn.Module, forward: Callable[..., Any], settings: object, name: str = "forward"
) -> Undo:
    """From now on this instance's `name` is `forward(module, …)`, a function at the top of its
    module: then the instance can be copied and pickled. It finds `settings` under SETTINGS.
    """
    keys = (name, SETTINGS, BOUND)
    before = {key: module.__dict__[key] for key in keys if key in module.__dict__}
    holder = _Bound(forward, module)
    bound = holder.call
    module.__dict__.update({name: bound, SETTINGS: settings, BOUND: bound})

    def undo() -> None:
        now = module.__dict__.get(name)
        for key in keys:
            module.__dict__.pop(key, None)
        module.__dict__.update(before)
        if now not in (None, bound):
            # Another's is over it, as a hook, which may call it: the other's stays.
            module.__dict__[name] = now
            holder.function = getattr(type(module), name)

    return undo


class _Bound:
    """A function and its first argument. Its method `call` is pickled by what it is made of, where
    a method of the module would be as an attribute of the module that it doesn't have. For
    torch.compile, which tells methods by their function, layers are alike.
    """

    def __init__(self, function: Callable[..., Any], module: nn.Module) -> None:
        self.function, self.module = function, module

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.module, *args, **kwargs)


def own_forward(module: nn.Module) -> Callable[..., Any]:
    """The forward of the module's class, bound to it."""
    return MethodType(type(module).forward, module)


def is_hooked(module: nn.Module) -> bool:
    """Whether somebody else replaced the instance's forward: its class's would go past that."""
    return "forward" in module.__dict__ and SETTINGS not in module.__dict__


def goes_with(weight: Any, x: Tensor) -> bool:
    """Whether an instance's weight is a plain tensor, of the dtype and on the device of x."""
    plain = type(weight) in (Tensor, nn.Parameter)
    return plain and weight.dtype == x.dtype and weight.device == x.device
