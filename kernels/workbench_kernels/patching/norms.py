"""Norms of a row: RMSNorm in its numeric modes, LayerNorm, with a weight, a bias or without."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench_kernels.layer_norm.wrapper import layer_norm
from workbench_kernels.patching.instance import SETTINGS, bind, own_forward
from workbench_kernels.patching.proof import Proof, dtypes_of, prove_each
from workbench_kernels.patching.rule import Undo, Verdict
from workbench_kernels.rms_norm.wrapper import rms_norm

_ROWS = 12
# Where neither a parameter nor a shape tells how wide rows are.
_ANY_WIDTH = 96
# Sums in another order move so few results across a boundary between two numbers of 16 bits.
_SAME = 0.99


class _Mode(NamedTuple):
    """A way to compute a norm: the kernel, what it is called with, and that in words."""

    kernel: str
    options: dict[str, Any]
    words: str


_MODES = (
    _Mode("rms_norm", {"rounding": "before_weight"}, "rounded before the weight"),
    _Mode("rms_norm", {}, "rounded once"),
    _Mode("rms_norm", {"offset": 1.0}, "weight + 1, rounded once"),
    _Mode("rms_norm", {"offset": 1.0, "rounding": "before_weight"}, "weight + 1, rounded before"),
    _Mode("layer_norm", {}, "rounded once"),
    _Mode("layer_norm", {"offset": 1.0}, "weight + 1, rounded once"),
)
_NAMES = {"weight", "bias"}
_PARAMETERS = (_NAMES, {"weight"}, set[str]())


class Norms:
    """Modules without children that give a row of the width of their weight."""

    kind = "norm"

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By their parameters: a weight and perhaps a bias of one dimension. One without any is a
        norm if its class says so and it has an epsilon.
        """
        for path, module in model.named_modules():
            names = {name for name, _ in module.named_parameters(recurse=False)}
            kept = {name for name, _ in module.named_buffers(recurse=False)}
            if any(True for _ in module.children()) or names not in _PARAMETERS or kept - _NAMES:
                continue
            flat = all(p.dim() == 1 for p in module.parameters(recurse=False))
            called = names or "norm" in type(module).__name__.lower()
            # Of two, the second is a gate: `gated_norms.py`.
            if flat and called and epsilons(module) and len(taken_by(module)) != 2:
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """The mode whose results have the most bits in common with the module's, if it is right."""
        _input, *others = taken_by(module)
        if others:
            return Verdict(reason=f"its forward takes {', '.join(others)} too")
        best = Verdict()
        reasons = []
        for mode in _modes(module):
            for eps in epsilons(module):
                found = _prove_mode(module, mode, eps)
                if found.wrong:
                    reasons.append(f"{mode.kernel}, {mode.words}: {found.wrong}")
                    continue
                options = {**mode.options, "eps": eps}
                verdict = Verdict(mode.kernel, mode.words, options, found.ratio, found.same)
                if not best.kernel or (verdict.same or 0.0) > (best.same or 0.0):
                    best = verdict
        if not best.kernel:
            return Verdict(reason="no norm computes what it does: " + reasons[0])
        if best.same is not None and best.same < _SAME:
            return Verdict(reason=f"only {best.same:.1%} of {best.kernel}'s results are the same")
        return best

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward calls the kernel, with the weight that the module has then."""
        forward = _rms_norm_forward if verdict.kernel == "rms_norm" else _layer_norm_forward
        return bind(module, forward, dict(verdict.options))


def taken_by(module: nn.Module) -> list[str]:
    """What its forward takes."""
    return list(inspect.signature(own_forward(module)).parameters)


def _modes(module: nn.Module) -> list[_Mode]:
    """Those that its parameters allow."""
    names = {name for name, _ in module.named_parameters(recurse=False)}
    return [
        mode
        for mode in _MODES
        if ("weight" in names or "offset" not in mode.options)
        and ("bias" not in names or mode.kernel == "layer_norm")
    ]


def epsilons(module: nn.Module) -> list[float]:
    """What it may add to a mean square, as its attributes have it."""
    named = {n: v for n, v in vars(module).items() if "eps" in n.lower()}
    return list(dict.fromkeys(float(v) for v in named.values() if isinstance(v, float)))


def _prove_mode(module: nn.Module, mode: _Mode, eps: float) -> Proof:
    """In the dtype of its weight and, of a norm that rounds, in bfloat16."""
    names = [name for name, _ in module.named_parameters(recurse=False)]

    def ours(input: Tensor, **parameters: Tensor) -> Tensor:
        return call(mode.kernel, input, {**mode.options, "eps": eps}, **parameters)

    cases = (draw(module, ["input"], names, dtype) for dtype in dtypes_of(module))
    return prove_each(with_parameters(module), ours, cases)


def with_parameters(module: nn.Module) -> Callable[..., Tensor]:
    """Its own forward, of rows by whatever names and of its parameters by theirs."""
    own, names = own_forward(module), dict(module.named_parameters(recurse=False)).keys()

    def forward(**given: Tensor) -> Tensor:
        parameters = {name: given.pop(name) for name in names}
        with torch.nn.utils.stateless._reparametrize_module(module, parameters):
            y: Tensor = own(*given.values())
        return y

    return forward


def draw(
    module: nn.Module, rows: list[str], parameters: list[str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Rows of very different size, so that epsilon shows; parameters unlike those of a new module,
    which hide an offset.
    """
    weight = next(module.parameters(recurse=False), None)
    shape = getattr(module, "normalized_shape", (_ANY_WIDTH,))
    width = int(shape[-1]) if weight is None else len(weight)
    device = torch.device("cpu") if weight is None else weight.device
    chance = torch.Generator().manual_seed(0)
    tensors = {}
    scale = torch.logspace(-3.5, 2, _ROWS)[:, None]
    for name in rows:
        tensors[name] = scale * (torch.randn(_ROWS, width, generator=chance) + 0.2)
        scale = torch.ones(1)
    for name in parameters:
        tensors[name] = 0.4 + torch.rand(width, generator=chance)
    return {name: t.to(device, dtype) for name, t in tensors.items()}


def call(
    kernel: str,
    input: Tensor,
    options: dict[str, Any],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """What a kernel gives for rows, with a verdict's options."""
    if kernel == "rms_norm":
        return rms_norm(input, None, weight, **options)
    if weight is not None and "offset" in options:
        weight = weight + options["offset"]
    return layer_norm(input, None, weight, bias, options["eps"])


def _rms_norm_forward(self: nn.Module, *rows: Tensor, **named: Tensor) -> Tensor:
    """The bound forward of an RMSNorm; its rows may be given by name."""
    (input,) = *rows, *named.values()
    weight = self._parameters.get("weight")
    if weight is not None and weight.dtype != input.dtype:
        return type(self).forward(self, input)  # as under autocast: its result is of another dtype
    return call("rms_norm", input, self.__dict__[SETTINGS], weight)


def _layer_norm_forward(self: nn.Module, *rows: Tensor, **named: Tensor) -> Tensor:
    """The bound forward of a LayerNorm."""
    (input,) = *rows, *named.values()
    weight, bias = (self._parameters.get(name) for name in ("weight", "bias"))
    if weight is not None and weight.dtype != input.dtype:
        return type(self).forward(self, input)
    return call("layer_norm", input, self.__dict__[SETTINGS], weight, bias)
