"""Attentions by their file's source: right, nearly right, decorated; and what counts rope."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from workbench_kernels import testing


class Launches(TorchDispatchMode):
    """Counts the calls of rope."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.name() == "workbench_kernels::rope"
        return func(*args, **(kwargs or {}))


ROTARY = """
import torch
from torch import nn

def rotate_half(x):
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)

def turn(q, k, cos, sin, unsqueeze_dim=1):
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.head_dim = 8
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, q, k, cos, sin):
        q, k = turn(q * self.weight, k, cos, sin)
        return q, k
"""
_SWAPPED = "sin.unsqueeze(unsqueeze_dim), cos.unsqueeze(unsqueeze_dim)"
_WIDE = "(x if x.shape[-1] < 64 else x.flip(-1)).chunk(2, -1)"
_ORDER = """sin

turned = turn

def turn(q, k, cos, sin, unsqueeze_dim=1):
    return turned(k, q, cos, sin)

class"""
WRONG = {
    "scaled": ("return q * cos", "return 1.01 * q * cos"),
    "scaled by a default": ("unsqueeze_dim=1):", "unsqueeze_dim=1, scale=1.1):\n    q = q * scale"),
    "one tensor only": ("rotate_half(k) * sin", "k * sin"),
    "tables swapped": ("cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)", _SWAPPED),
    "no rotation": ("return q * cos + rotate_half(q) * sin", "return q * cos + q * sin"),
    "halves by the wrong columns": ("cos, sin = cos.un", "cos, sin = cos.flip(-1).un"),
    "for narrow heads only": ("x.chunk(2, -1)", _WIDE),
    "its gradient is cut": ("return q * cos", "q = q.detach()\n    return q * cos"),
    "in another order": ("sin\n\nclass", _ORDER),
}  # fmt: skip
RIGHT = {
    "as it is": ("", "", 1),
    "the other way": ("torch.cat((-second, first)", "torch.cat((second, -first)", 1),
    "tokens first by default": ("unsqueeze_dim=1", "unsqueeze_dim=2", 2),
}


def own(old: str, new: str) -> Any:
    """An attention of its own file, in which `new` stands for `old`."""
    assert old in ROTARY
    return _from(ROTARY.replace(old, new, 1))


def _from(source: str) -> Any:
    scope: dict[str, Any] = {"__name__": "a_file_of_ones_own"}
    exec(source, scope)
    return scope["Attention"]().to(testing.device())


def heads(heads_dim: int) -> list[Tensor]:
    """q, k, cos and sin."""
    torch.manual_seed(0)
    q, k = (torch.randn(2, 5, count, 8).transpose(heads_dim, 2) for count in (4, 2))
    angles = torch.randn(2, 5, 8)
    return [t.to(testing.device()) for t in (q, k, angles.cos(), angles.sin())]


MODULE = """sin

import inspect

def as_module(function):
    class Func(nn.Module):
        def forward(self, *args, **kwargs):
            return function(*args, **kwargs)

    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    others = inspect.signature(function).parameters.values()
    Func.forward.__signature__ = inspect.Signature([first, *others])
    return Func()

turn = as_module(turn)

class"""
_DECORATOR = """import functools

def negated(function):
    @functools.wraps(function)
    def call(self, q, k, cos, sin):
        return function(self, q, k, cos, -sin)
    return call

def lost(function):
    known = [function]
    @functools.wraps(function)
    def call(*args):
        return known[0](*args)
    return call

def rotate_half"""


def decorated(name: str) -> Any:
    """One whose forward is decorated."""
    source = ROTARY.replace("def rotate_half", _DECORATOR, 1)
    return _from(source.replace("    def forward", f"    @{name}\n    def forward", 1))
