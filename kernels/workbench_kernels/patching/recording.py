"""The calls on logits that are recorded, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.patching.record import Record


@dataclass(frozen=True)
class Rule:
    """How a call is recorded. `own`: its result has memory of its own. `cast`: only to change the
    dtype, so that it gives the very tensor where that is the same.
    """

    step: Callable[..., Record | None]
    own: bool = False
    cast: bool = False
    in_place: bool = False


def _to(record: Record, *args: Any, **kwargs: Any) -> Record | None:
    """Of `Tensor.to`: a dtype, and the device where it is."""
    dtype, device = record.dtype, record.x.device
    for given in (*args, *(kwargs.pop(name, None) for name in ("dtype", "device"))):
        if isinstance(given, torch.dtype):
            dtype = given
        elif isinstance(given, str | torch.device):
            device = torch.device(given)
        elif isinstance(given, Tensor):
            dtype, device = given.dtype, given.device
        elif given is not None and not isinstance(given, bool):
            return None
    if device != record.x.device or kwargs.get("copy") or any(a is True for a in args[2:]):
        return None
    return record.convert(dtype)


def _sized(record: Record, *sizes: Any, shape: Any = None, size: Any = None) -> Record | None:
    given = shape or size or sizes
    nested = len(given) == 1 and isinstance(given[0], tuple | list)
    sizes = tuple(given[0] if nested else given)
    if not all(isinstance(n, int) for n in sizes):
        return None
    return record.reshape(sizes)


def _unsqueeze(record: Record, dim: int) -> Record | None:
    lead = 0 <= dim < record.x.dim() or -record.x.dim() - 1 <= dim < -1
    return record.rows(lambda x: x.unsqueeze(dim)) if lead else None


def _squeeze(record: Record, dim: Any = None) -> Record | None:
    lead = isinstance(dim, int) and dim % record.x.dim() < record.x.dim() - 1
    return record.rows(lambda x: x.squeeze(dim)) if lead else None


def _table() -> dict[Any, Rule]:
    """The rule of each call, by the functions that `__torch_function__` is told of."""
    arithmetic: dict[str, Callable[..., Record | None]] = {
        "mul multiply": Record.times,
        "div divide true_divide": Record.over,
        "tanh": Record.tanh,
        "add": Record.plus,
        "log_softmax": Record.log_softmax,
    }
    shapes: dict[str, Callable[..., Record | None]] = {
        "view reshape": _sized,
        "flatten": lambda r, start_dim=0, end_dim=-1: r.flatten(start_dim, end_dim),
        "unsqueeze": _unsqueeze,
        "squeeze": _squeeze,
        "__getitem__": Record.index,
        "transpose": Record.transpose,
        "contiguous": lambda r, memory_format=torch.contiguous_format: r,
    }
    casts: dict[str, Callable[..., Record | None]] = {
        "float": lambda r, memory_format=torch.preserve_format: r.convert(torch.float32),
        "to": _to,
        "type": lambda r, dtype: r.convert(dtype) if isinstance(dtype, torch.dtype) else None,
        "type_as": lambda r, other: _to(r, other),
    }
    rules = {
        **{names: Rule(step, own=True) for names, step in arithmetic.items()},
        **{names: Rule(step) for names, step in shapes.items()},
        **{names: Rule(step, own=True, cast=True) for names, step in casts.items()},
        "mul_ multiply_": Rule(Record.times, in_place=True),
        "div_ divide_ true_divide_": Rule(Record.over, in_place=True),
        "tanh_": Rule(Record.tanh, in_place=True),
        "clone": Rule(lambda r, memory_format=torch.preserve_format: r, own=True),
    }
    owners = (Tensor, torch, F)
    return {
        getattr(owner, name): rule
        for names, rule in rules.items()
        for name in names.split()
        for owner in owners
        if hasattr(owner, name)
    }


RULES = _table()
