"""Which gated product of gate and up something is: found by its values in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import unwrap
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.glu.spec import glu as reference
from workbench_kernels.glu.wrapper import ACTIVATIONS, glu
from workbench_kernels.launch import SUPPORTED
from workbench_kernels.patching.standin import is_activation, own_tensors

# How large the numbers of a row are: a small number or a clamp may show in some of them alone.
SIZES = (1e-3, 0.1, 1.0, 3.0, 10.0, 1e6)
# Columns that are enough to tell products apart; of the one found, all are compared.
_FEW = 64
# What may be lost on the way by what computes in float32.
_LOST = 1e-6


def join(
    module: nn.Module,
    parts: Sequence[Tensor],
    how: Mapping[str, Any],
    function: Callable[..., Tensor] = glu,
) -> Tensor:
    """The product of gate and up, two tensors or both in one, as `find` said of the module."""
    order, scale = how["order"], how["gate_scale"]
    if len(parts) == 1 and order != "up, gate" and not scale:
        return function(parts[0], None, interleaved=order == "interleaved", **how["glu"])
    gate, up = _split(parts, order)
    if scale:
        gate = gate * getattr(module, scale)
    return function(gate, up, **how["glu"])


def is_served(parts: Sequence[Tensor]) -> bool:
    """Whether the kernel takes these."""
    first = parts[0]
    alike = all(p.dtype == first.dtype and p.shape == first.shape for p in parts)
    return alike and first.dtype in SUPPORTED


def find(
    module: nn.Module, code: Callable[..., Any], parts: Sequence[Tensor], expected: Tensor
) -> dict[str, Any] | None:
    """How the module's function `code` made `expected` of these parts; None if as no gated product.
    All are in float64.
    """
    if len(parts) == 1 and parts[0].shape[-1] % 2:
        return None
    for how in _ways(module, code, len(parts)):
        gate_up = _split(parts, how["order"])
        apart = {**how, "order": "gate, up"}
        few = [part[..., :_FEW] for part in gate_up]
        if _is(expected[..., :_FEW], module, few, apart):
            return how if _is(expected, module, gate_up, apart) else None
    return None


def in_words(how: Mapping[str, Any]) -> str:
    """What was found, for a report."""
    options = dict(how["glu"])
    said = [options.pop("activation"), *(f"{name} {value:g}" for name, value in options.items())]
    if how["gate_scale"]:
        said.append(f"gate · {how['gate_scale']}")
    return ", ".join(said)


def scales(module: nn.Module, most_dims: int) -> list[str]:
    """The names of what the module may multiply with: its attributes that are numbers, or tensors
    of one element; "" for nothing.
    """
    numbers = [name for name, value in vars(module).items() if isinstance(value, float)]
    tensors = own_tensors(module).items()
    return ["", *numbers, *(n for n, t in tensors if t.numel() == 1 and t.dim() <= most_dims)]


def draw(rows: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Random numbers in float64, always the same ones; some are 0."""
    chance = torch.Generator().manual_seed(width)
    drawn = torch.randn(*rows, width, generator=chance, dtype=torch.float64)
    drawn[..., 0] = 0.0
    return drawn.to(device)


def sized(x: Tensor) -> Tensor:
    """These numbers, row by row of another size; of as many rows as there are SIZES."""
    factors = torch.tensor(SIZES, dtype=x.dtype, device=x.device)
    return x * factors.view(*x.shape[:-1], 1)


def _split(parts: Sequence[Tensor], order: str) -> tuple[Tensor, Tensor]:
    """gate and up."""
    if len(parts) == 1 and order == "interleaved":
        return parts[0][..., ::2], parts[0][..., 1::2]
    first, second = parts if len(parts) == 2 else parts[0].chunk(2, dim=-1)
    return (second, first) if order == "up, gate" else (first, second)


def _ways(module: nn.Module, code: Callable[..., Any], parts: int) -> Iterator[dict[str, Any]]:
    """What to try, the usual first."""
    numbers = list(dict.fromkeys(_numbers(module, code)))
    activations: list[dict[str, Any]] = [{"activation": name} for name in ACTIVATIONS]
    activations += [{"activation": "silu", "alpha": number} for number in numbers]
    limits: list[dict[str, Any]] = [{}, *({"limit": number} for number in numbers)]
    offsets: list[dict[str, Any]] = [{}, {"up_offset": 1.0}]
    orders = ("gate, up", "up, gate") if parts == 2 else ("gate, up", "up, gate", "interleaved")
    # A factor with a dimension may be of another dtype, and gate times it would be, too.
    for scale, limit, offset, activation, order in product(
        scales(module, 0), limits, offsets, activations, orders
    ):
        yield {"order": order, "gate_scale": scale, "glu": {**activation, **limit, **offset}}


def _numbers(module: nn.Module, code: Callable[..., Any]) -> Iterator[float]:
    """Positive numbers in the code and the attributes of the module and of its activations."""
    activations = [child for child in module.children() if is_activation(child)]
    sources = [(module, code), *((child, type(child).forward) for child in activations)]
    for holder, function in sources:
        constants = getattr(getattr(unwrap(function), "__code__", None), "co_consts", ())
        for value in (*vars(holder).values(), *constants):
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                yield float(value)


def _is(
    expected: Tensor, module: nn.Module, parts: Sequence[Tensor], how: Mapping[str, Any]
) -> bool:
    gate, up = parts
    if not gate.shape == up.shape == expected.shape:
        return False
    off = (join(module, parts, how, reference) - expected).abs()
    return bool((off <= _LOST * (1 + (gate * up).abs())).all())
