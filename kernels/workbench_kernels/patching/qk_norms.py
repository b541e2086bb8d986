"""Norms of queries and keys that a rotary function takes next: one kernel for both.

Where both are served already, the norms of a head that attention has as children are left to the
rotary function (`unnormed.py`): whether that is what they go to shows when it is called, and where
it is not, they are computed as they were. Attention has to call it after the norms, always, as its
source has it: heads that are yet to be computed must not get into code that is not PyTorch's.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.patching import norms
from workbench_kernels.patching.functions import definition
from workbench_kernels.patching.instance import SETTINGS, bind
from workbench_kernels.patching.layouts import ROWS
from workbench_kernels.patching.proof import Proof, dtypes_of, prove, worst
from workbench_kernels.patching.rotary import Turn, of_two
from workbench_kernels.patching.rule import Undo, Verdict, where
from workbench_kernels.patching.unnormed import Norm, defer


class QkNorms:
    """Attention whose rotary function and two norms of a head are served."""

    kind = "qk_norm"

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By what serves it and its children."""
        for path, module in model.named_modules():
            names = _head_norms(module)
            if len(names) == 2 and _turns(module) and _come_first(module, names):
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """The norms and then the rotary function, against the one kernel."""
        (q_norm, k_norm) = names = _head_norms(module)
        pair = [module.get_submodule(name) for name in names]
        q_settings, k_settings = (norm.__dict__[SETTINGS] for norm in pair)
        if q_settings.options != k_settings.options or _width(pair[0]) != _width(pair[1]):
            return Verdict(reason=f"{q_norm} and {k_norm} are not of one kind")
        found = worst([_prove(pair, turn) for turn in _turns(module)])
        if found.wrong:
            return Verdict(reason=f"qk_norm_rope: {found.wrong}")
        words = f"{q_norm} and {k_norm}, where they go to the rotary function"
        return Verdict("qk_norm_rope", words, {"takes": names}, found.ratio, found.same)

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its norms leave what they compute to the rotary function."""
        steps = [_leave(module.get_submodule(name)) for name in verdict.options["takes"]]

        def undo() -> None:
            for step in reversed(steps):
                step()

        return undo


def _turns(module: nn.Module) -> list[Turn]:
    """Its rotary functions that are served, and whose work the kernel does too."""
    return [turn for turn in of_two(module) if turn.rotation.partial != "last"]


def _head_norms(module: nn.Module) -> list[str]:
    """Its children that are served as a norm of rows as wide as a head, with a weight alone."""
    width = getattr(module, "head_dim", None)
    return [
        name
        for name, child in module.named_children()
        if isinstance(settings := vars(child).get(SETTINGS), norms.Settings)
        and (settings.kernel, settings.layout) == ("rms_norm", ROWS)
        and [n for n, _ in child.named_parameters()] == [settings.weight]
        and _width(child) == width
    ]


def _come_first(module: nn.Module, names: Sequence[str]) -> bool:
    """Whether a served rotary function is called after these norms, whatever else is the case."""
    return _in_order(type(module).forward, tuple(names), tuple(vars(module)[SETTINGS].options))


@cache
def _in_order(forward: Callable[..., Any], norms: tuple[str, ...], rotary: tuple[str, ...]) -> bool:
    function = definition(forward)
    if function is None:
        return False
    normed, turned = dict[str, int](), -1
    for place, statement in enumerate(function.body):
        # What a statement holds in blocks of its own may not be reached.
        plain = isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr)
        for node in ast.walk(statement):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called.removeprefix("self.") in norms:
                normed[called] = place
            if plain and called in rotary:
                turned = place
    return len(normed) == len(norms) and max(normed.values()) < turned


def _width(norm: nn.Module) -> int:
    return len(next(norm.parameters()))


def _leave(norm: nn.Module) -> Undo:
    return bind(norm, _forward, norm.__dict__[SETTINGS])


def _forward(self: nn.Module, *rows: Tensor, **named: Tensor) -> Tensor:
    """The bound forward of a norm of heads."""
    (input,) = *rows, *named.values()
    settings: norms.Settings = self.__dict__[SETTINGS]
    weight = self._parameters.get(settings.weight)
    if weight is None or not _can_wait(self, input, weight):
        return norms.forward(self, *rows, **named)
    options = settings.options

    def compute(x: Tensor) -> Tensor:
        return norms.forward(self, x)

    return defer(input, Norm(weight, options["eps"], options.get("offset", 0.0), compute))


def _can_wait(module: nn.Module, x: Tensor, weight: Tensor) -> bool:
    """Whether nobody would see the norm's result but through Python."""
    if torch.compiler.is_compiling():
        return False
    watched = module._forward_hooks or module._forward_pre_hooks
    return (
        type(x) is Tensor
        and type(weight) is nn.Parameter
        and x.dtype == weight.dtype
        and not watched
        and not x.is_inference()
        and not torch.is_inference_mode_enabled()
        and torch._C._get_tracing_state() is None
        and not torch._C._are_functorch_transforms_active()
    )


def _prove(pair: Sequence[nn.Module], turn: Turn) -> Proof:
    """The one kernel against the module's own norms and then its function, in every dtype."""
    options = pair[0].__dict__[SETTINGS].options
    heads_dim = turn.rotation.layouts[0].heads_dim

    def theirs(
        q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor
    ) -> Any:
        given = (q, q_weight), (k, k_weight)
        q, k = (_normed(norm, x, w) for norm, (x, w) in zip(pair, given, strict=True))
        return turn.call(q, k, cos, sin)

    def ours(
        q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor
    ) -> Any:
        eps, offset = options["eps"], options.get("offset", 0.0)
        both = [Norm(w, eps, offset, lambda x: x) for w in (q_weight, k_weight)]
        return turn.rotation([q, k], cos, sin, heads_dim, both)

    learnt = ["q", "k", "q_weight", "k_weight"]
    proofs = [prove(theirs, ours, tensors, learnt) for tensors in _cases(pair[0], turn)]
    return worst(proofs)


def _normed(norm: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    (name,) = (name for name, _ in norm.named_parameters())
    return norms.with_parameters(norm)(x=x, **{name: weight})


def _cases(norm: nn.Module, turn: Turn) -> Iterator[dict[str, Tensor]]:
    chance = torch.Generator().manual_seed(0)
    width = _width(norm)
    weights = {f"{name}_weight": 0.4 + torch.rand(width, generator=chance) for name in "qk"}
    for dtype in dtypes_of(norm):
        moved = {name: weight.to(where(norm), dtype) for name, weight in weights.items()}
        yield {**turn.draw(width, dtype), **moved}
