"""Norms of a row, of channels or of groups of them: RMSNorm in its numeric modes, LayerNorm and
GroupNorm, with a weight, a bias or without.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from workbench_kernels.group_norm.wrapper import group_norm
from workbench_kernels.launch import SUPPORTED
from workbench_kernels.layer_norm.wrapper import layer_norm
from workbench_kernels.patching import layouts
from workbench_kernels.patching.instance import SETTINGS, bind, own_forward
from workbench_kernels.patching.layouts import CHANNELS, HEADS, ROWS
from workbench_kernels.patching.proof import Proof, dtypes_of, prove_each
from workbench_kernels.patching.rule import Undo, Verdict, where
from workbench_kernels.rms_norm.wrapper import rms_norm

# Where neither a parameter nor an attribute tells how wide rows are.
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
# Heads are normalised without the weight, which is of what they are joined to.
_HEAD_MODES = tuple(
    _Mode(kernel, {}, "rounded before the weight") for kernel in ("rms_norm", "layer_norm")
)
# Norms that no kernel has, told by their results in bfloat16.
_UNSERVED: dict[str, Callable[[Tensor, float], Tensor]] = {
    "it rounds what x is multiplied with, 1/√(mean(x²) + eps)": lambda x, eps: (
        x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps).bfloat16()
    ),
    "it multiplies x with 1/√(Σ x² + eps), of the sum and not of the mean": lambda x, eps: (
        x.float() * torch.rsqrt(x.float().square().sum(-1, keepdim=True) + eps)
    ).bfloat16(),
}
_NAMES = {"weight", "bias"}
_PARAMETERS = (_NAMES, {"weight"}, set[str]())


class Norms:
    """Modules without children that normalise rows of the width of their weight, or channels."""

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
            # One without columns, of a part that a model's config leaves out, has nothing to do.
            flat = all(p.dim() == 1 and p.numel() for p in module.parameters(recurse=False))
            called = names or "norm" in type(module).__name__.lower()
            # Of two, the second is a gate: `gated_norms.py`.
            if flat and called and epsilons(module) and len(taken_by(module)) != 2:
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """The mode whose results have the most bits in common with the module's, if it is right."""
        _input, *others = taken_by(module)
        if others:
            return Verdict(reason=f"its forward takes {', '.join(others)} too")
        names = [name for name, _ in module.named_parameters(recurse=False)]
        drawn = draw(module, ["input"], names, _dtype(module))
        rows, own = drawn.pop("input"), with_parameters(module)

        def result(input: Tensor) -> Tensor:
            return own(input=input, **drawn)

        left, refused = [], []
        for layout in layouts.LAYOUTS:
            given, wrong = layouts.taken(module, result, layout, rows)
            if not given:
                refused.append(wrong)
                continue
            verdict = _best(module, layout, given)
            if verdict.served:
                return verdict
            left.append(verdict)
        return left[0] if left else Verdict(reason=f"it is no norm of rows: {refused[0]}")

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward calls the kernel, with the weight that the module has then."""
        return bind(module, forward, settings_of(verdict))


def taken_by(module: nn.Module) -> list[str]:
    """What its forward takes."""
    return list(inspect.signature(own_forward(module)).parameters)


def _best(module: nn.Module, layout: str, given: list[Tensor]) -> Verdict:
    """The mode for these inputs, of one layout; or why there is none."""
    best = Verdict()
    reasons = []
    for mode in _modes(module, layout):
        for eps in epsilons(module):
            settings = Settings(mode.kernel, layout, None, {**mode.options, "eps": eps})
            found = _prove(module, settings, given)
            if found.wrong:
                reasons.append(f"{mode.kernel}, {mode.words}: {found.wrong}")
                continue
            options, words = dict(settings.options), mode.words
            if layout != ROWS:
                options |= {"layout": layout, "ranks": sorted({t.dim() for t in given})}
                words = f"of {layout}, {words}"
            verdict = Verdict(mode.kernel, words, options, found.ratio, found.same)
            if not best.kernel or (verdict.same or 0.0) > (best.same or 0.0):
                best = verdict
        if best.same == 1.0:
            break  # no other has more
    if best.kernel and (best.same is None or best.same >= _SAME):
        return best
    wrong, why = "no norm computes what it does", "".join(reasons[:1])
    if best.kernel:
        wrong, why = f"only {best.same:.1%} of {best.kernel}'s results are the same", ""
    why = _seen(module, given[0]) or why if layout == ROWS else why
    return Verdict(reason=f"{wrong}: {why}" if why else wrong)


def _seen(module: nn.Module, input: Tensor) -> str:
    """What it computes that no kernel does, in words; nothing if that is none of what is known."""
    names = [name for name, _ in module.named_parameters(recurse=False)]
    x, parameters = input.bfloat16(), draw(module, [], names, torch.bfloat16)
    theirs = with_parameters(module)(input=x, **parameters)
    for words, normalised in _UNSERVED.items():
        for eps in epsilons(module):
            y = normalised(x, eps)
            if torch.equal(theirs, y * parameters["weight"] if "weight" in parameters else y):
                return words
    return ""


def _modes(module: nn.Module, layout: str) -> list[_Mode]:
    """Those that its parameters and the layout allow."""
    if layout == HEADS:
        return list(_HEAD_MODES)
    names = {name for name, _ in module.named_parameters(recurse=False)}
    modes = [
        mode
        for mode in _MODES
        if ("weight" in names or "offset" not in mode.options)
        and ("bias" not in names or mode.kernel == "layer_norm")
    ]
    if layout == CHANNELS:
        for count in layouts.parts_of(module, _width(module)):
            words = f"{count} group" + ("s" if count > 1 else "")
            modes.append(_Mode("group_norm", {"num_groups": count}, words))
    return modes


def epsilons(module: nn.Module) -> list[float]:
    """What it may add to a mean square, as its attributes have it; None is float32's, as PyTorch
    has it.
    """
    named = [v for n, v in vars(module).items() if "eps" in n.lower()]
    values = (torch.finfo(torch.float32).eps if v is None else v for v in named)
    return list(dict.fromkeys(v for v in values if isinstance(v, float)))


def _prove(module: nn.Module, settings: Settings, given: list[Tensor]) -> Proof:
    """In the dtype of its weight and, of a norm that rounds, in bfloat16; for all these inputs."""
    names = [name for name, _ in module.named_parameters(recurse=False)]

    def ours(input: Tensor, **parameters: Tensor) -> Tensor:
        return _call(settings, input, **parameters)

    cases = (
        {**draw(module, [], names, dtype), "input": input.to(dtype)}
        for dtype in dtypes_of(module)
        for input in given
    )
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
    width, count = _width(module), layouts.COUNT
    chance = torch.Generator().manual_seed(0)
    tensors = {}
    scale = torch.logspace(-3.5, 2, count)[:, None]
    for name in rows:
        tensors[name] = scale * (torch.randn(count, width, generator=chance) + 0.2)
        scale = torch.ones(1)
    for name in parameters:
        tensors[name] = 0.4 + torch.rand(width, generator=chance)
    return {name: t.to(where(module), dtype) for name, t in tensors.items()}


def _width(module: nn.Module) -> int:
    """How wide rows are, or how many channels there are."""
    weight = next(module.parameters(recurse=False), None)
    if weight is not None:
        return len(weight)
    shape = getattr(module, "normalized_shape", (_ANY_WIDTH,))
    return int(getattr(module, "num_channels", shape[-1]))


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters()), torch.float32)


class Settings(NamedTuple):
    """What a bound forward is told: the kernel and its options, where rows lie in its input, of
    which rank that may be, None for any, and what the module calls its parameters.
    """

    kernel: str
    layout: str
    ranks: list[int] | None
    options: dict[str, Any]
    weight: str = "weight"
    bias: str = "bias"


def settings_of(verdict: Verdict) -> Settings:
    """What a module with this verdict is to be told."""
    options = dict(verdict.options)
    layout, ranks = options.pop("layout", ROWS), options.pop("ranks", None)
    return Settings(verdict.kernel, layout, ranks, options)


def forward(self: nn.Module, *rows: Tensor, **named: Tensor) -> Tensor:
    """The bound forward; its rows may be given by name."""
    (input,) = *rows, *named.values()
    settings = self.__dict__[SETTINGS]
    weight = self._parameters.get(settings.weight)
    bias = self._parameters.get(settings.bias)
    if weight is not None and weight.dtype != input.dtype:
        return type(self).forward(self, input)  # as under autocast: its result is of another dtype
    proven = settings.ranks is None or input.dim() in settings.ranks
    if not proven or input.dtype not in SUPPORTED:
        return type(self).forward(self, input)
    return _call(settings, input, weight, bias)


def _call(
    settings: Settings, input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """The kernel's result for an input of this layout."""
    kernel, layout, options = settings.kernel, settings.layout, settings.options
    if kernel == "group_norm":
        return group_norm(input, weight=weight, bias=bias, **options)
    if layout == CHANNELS:
        return _of_rows(kernel, options, input.movedim(1, -1), weight, bias).movedim(-1, 1)
    if layout == HEADS:
        y = _of_rows(kernel, options, input).flatten(-2)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias
    return _of_rows(kernel, options, input, weight, bias)


def _of_rows(
    kernel: str,
    options: dict[str, Any],
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    if kernel == "rms_norm":
        return rms_norm(input, None, weight, **options)
    if weight is not None and "offset" in options:
        weight = weight + options["offset"]
    return layer_norm(input, None, weight, bias, options["eps"])
