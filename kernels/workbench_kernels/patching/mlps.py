"""Gated MLPs: down(act(gate(x))·up(x)), in whatever order, and whatever is around the product.

A module's own forward is run on a stand-in (`standin.py`), which tells what is called with what.
What lies between projections has to be a gated product (`gated.py`): then the kernel computes it.
All other children are called as modules, so adapters, quantisation, dropout and hooks stay; only
the activation is not called any more. Of plain projections the whole is one node (`gated_mlp.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature, unwrap
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench_kernels.patching import gated
from workbench_kernels.patching.gated_mlp import gated_mlp
from workbench_kernels.patching.instance import SETTINGS, bind
from workbench_kernels.patching.proof import Proof, dtypes_of, prove_each
from workbench_kernels.patching.rule import Undo, Verdict, where
from workbench_kernels.patching.standin import Call, draw_weights, is_activation, sizes, stand_in

_ACTIVATIONS = frozenset(("silu", "gelu", "relu", "sigmoid"))
# Inputs of a proof: what an MLP is given in a model, and tokens in a row.
_ROWS = ((2, 3), (6,))
_SPREAD = 3.0
# Its name, of which no child is.
_INPUT = "(input)"


class Mlps:
    """Modules of two or three projections whose widths are those of a gated MLP, an activation, and
    a single input. A plain MLP's widths are others, or it shows how its projections are called.
    """

    kind = "mlp"

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """By the widths of projections; wrapped or quantised ones have them, too."""
        for path, module in model.named_modules():
            fits = _fit(_widths(module)) and _has_activation(module) and not _convolves(module)
            if fits and len(_required(module)) == 1 and not _is_plain(module):
                yield path, module

    def prove(self, module: nn.Module) -> Verdict:
        """What its forward does around the children it calls, if that is a gated product."""
        if len(dtypes := _weight_dtypes(module)) > 1:
            return Verdict(reason=f"its projections' weights are of {' and '.join(dtypes)}")
        try:
            settings = {"input": _required(module)[0], **_settings(module)}
        except _Unlike as unlike:
            return Verdict(reason=str(unlike))
        found = _prove(module, settings)
        if found.wrong:
            return Verdict(reason=f"glu, {gated.in_words(settings)}: {found.wrong}")
        return Verdict("glu", gated.in_words(settings), settings, found.ratio, found.same)

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Its forward calls its children, and the kernel between them."""
        return bind(module, _mlp_forward, dict(verdict.options))


def _mlp_forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The bound forward of a gated MLP."""
    settings = self.__dict__[SETTINGS]
    x = args[0] if args else kwargs.get(settings["input"])
    if x is None or len(args) + len(kwargs) != 1:
        return type(self).forward(self, *args, **kwargs)
    y = gated_mlp(self, settings, x)
    y = _by_modules(self, settings, x) if y is None else y
    if y is None:
        return type(self).forward(self, x)
    if settings["dropout"]:
        y = F.dropout(y, getattr(self, settings["dropout"]), self.training)
    return y * getattr(self, settings["scale"]) if settings["scale"] else y


def _by_modules(self: nn.Module, settings: Mapping[str, Any], x: Tensor) -> Tensor | None:
    """What the last child gives, called as a module as all are; None for parts no kernel takes."""
    y = x
    for name in settings["before"]:
        y = getattr(self, name)(y)
    parts = [getattr(self, name)(y) for name in settings["projections"]]
    if not gated.is_served(parts):
        return None
    y = gated.join(self, parts, settings)
    for name in settings["after"]:
        y = getattr(self, name)(y)
    return y


class _Unlike(Exception):
    """The module computes something else than a gated MLP; what."""


def _widths(module: nn.Module) -> list[tuple[int, int]]:
    """Of its projections, in and out."""
    return [widths for child in module.children() if (widths := sizes(child)) is not None]


def _fit(widths: list[tuple[int, int]]) -> int | None:
    """How wide an input is, if one projection takes the product of what two others give, or of
    another's halves; else None. Without columns, as of a part that a model's config leaves out,
    there is nothing to fit.
    """
    if not all(map(all, widths)):
        return None
    if len(widths) == 2:
        fits = (both[0] for both, down in (widths, widths[::-1]) if both[1] == 2 * down[0])
    elif len(widths) == 3:
        turned = (widths[i:] + widths[:i] for i in range(3))
        fits = (gate[0] for gate, up, down in turned if gate == up and gate[1] == down[0])
    else:
        return None
    return next(fits, None)


def _weight_dtypes(module: nn.Module) -> list[str]:
    """Those of its projections. Where one is kept in float32, a forward may cast for it."""
    weights = (getattr(child, "weight", None) for child in module.children() if sizes(child))
    return sorted({str(weight.dtype) for weight in weights if isinstance(weight, Tensor)})


def _has_activation(module: nn.Module) -> bool:
    """As a child, as a function that it keeps, or by name in its forward."""
    kept = any(callable(value) for name, value in vars(module).items() if name[0] != "_")
    code = getattr(unwrap(type(module).forward), "__code__", None)
    named = not _ACTIVATIONS.isdisjoint(getattr(code, "co_names", ()))
    return kept or named or any(map(is_activation, module.children()))


def _convolves(module: nn.Module) -> bool:
    """As mixers do that are recurrent: weights of more dimensions than a projection's."""
    return any(parameter.dim() > 2 for parameter in module.parameters())


def _is_plain(module: nn.Module) -> bool:
    """Whether each projection is given all that the one before gave, or that after an activation:
    of square weights, widths alone don't tell such an MLP from a gated one.
    """
    if any(former[1] != then[0] for former, then in pairwise(_widths(module))):
        return False
    try:
        trace = _trace(module, draw_weights(module), None)
    except _Unlike:
        return False
    projections = {name for name, child in module.named_children() if sizes(child) is not None}
    calls = [call for call in trace.calls if call.name in projections]
    followed = (_follows(module, former, call) for former, call in pairwise(calls))
    return len(calls) == len(projections) and all(followed)


def _follows(module: nn.Module, former: Call, call: Call) -> bool:
    """Whether one of its activations, or none, makes a call's input of the former's output."""
    if _same(call.input, former.output):
        return True
    kept = [value for name, value in vars(module).items() if callable(value) and name[0] != "_"]
    named = [getattr(F, name) for name in _ACTIVATIONS]
    for activation in (*filter(is_activation, module.children()), *kept, *named):
        try:
            if _same(call.input, activation(former.output.clone())):
                return True
        except Exception:  # it is something else that the module keeps
            continue
    return False


def _required(module: nn.Module) -> list[str]:
    """The arguments that its forward can't do without."""
    several = Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD
    _, *arguments = signature(type(module).forward).parameters.values()
    return [p.name for p in arguments if p.default is Parameter.empty and p.kind not in several]


class _Trace(NamedTuple):
    """What a forward was given, the children it called, what it gave."""

    x: Tensor
    calls: list[Call]
    y: Tensor


def _settings(module: nn.Module) -> dict[str, Any]:
    """What the bound forward is told: the children to call, in their order, and the product.

    Raises:
        _Unlike: it computes something else.
    """
    weights = draw_weights(module)
    trace, training, again = (_trace(module, weights, seed) for seed in (None, 0, 1))
    before, projections, after = _order(trace)
    twin = stand_in(module, weights)
    dropout = ""
    if not _same(training.y, again.y):
        dropout = _dropout(module, training)
    elif not _same(training.y, trace.y):
        raise _Unlike("in training it computes something else, outside of its children")
    parts = [call.output for call in projections]
    how = gated.find(twin, type(module).forward, parts, after[0].input)
    if how is None:
        raise _Unlike(f"what it gives {after[0].name} is no product that glu computes")
    last = after[-1].output
    for scale in gated.scales(twin, 1):
        if _same(trace.y, last * getattr(twin, scale) if scale else last):
            names = {"before": before, "projections": projections, "after": after}
            listed = {key: [call.name for call in calls] for key, calls in names.items()}
            return {**listed, "dropout": dropout, "scale": scale, **how}
    raise _Unlike(f"what {after[-1].name} gives is not its result")


def _trace(module: nn.Module, weights: Mapping[str, Tensor], seed: int | None) -> _Trace:
    """In float64; in training, with random numbers from this seed, or without one evaluating."""
    calls: list[Call] = []
    twin = stand_in(module, weights, calls, training=seed is not None)
    x = gated.sized(_draw(module, _ROWS[0]))
    given = x.clone()
    try:
        with torch.no_grad(), _seeded(seed or 0):
            y = type(module).forward(twin, given)
    except Exception as error:  # it is a model's own code
        what = f"{type(error).__name__}: {error}"
        given_what = "its input and stand-ins alone"
        if not calls:  # it reshapes its input, as one that joins an image's patches does
            given_what = "rows as wide as its projection takes, before it calls one"
        raise _Unlike(f"its forward fails, given {given_what}: {what}") from error
    if not isinstance(y, Tensor):
        raise _Unlike(f"its result is a {type(y).__name__}")
    if not _same(x, given):
        raise _Unlike("it writes into its input")
    return _Trace(x, calls, y)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def _dropout(module: nn.Module, training: _Trace) -> str:
    """The name of the share that is dropped of what the last child gives, as drawn from seed 0.

    Raises:
        _Unlike: what is random is something else.
    """
    for name, value in vars(module).items():
        if isinstance(value, float) and 0.0 < value < 1.0:
            with _seeded(0):
                dropped = F.dropout(training.calls[-1].output, value)
            if _same(dropped, training.y):
                return name
    raise _Unlike("in training it draws random numbers, outside of its children")


def _order(trace: _Trace) -> tuple[list[Call], list[Call], list[Call]]:
    """The children called before the projections of gate and up, these, and those called after."""
    x, rest = trace.x, trace.calls
    before: list[Call] = []
    while len(rest) > 2 and _same(rest[0].input, x) and _same(rest[1].input, rest[0].output):
        before.append(rest[0])
        x, rest = rest[0].output, rest[1:]
    projections = [call for call in rest if _same(call.input, x)]
    after = [call for call in rest if not _same(call.input, x)]
    if len(projections) not in (1, 2) or not after:
        raise _Unlike("its projections are not called as a gated MLP's")
    for former, call in pairwise(after):
        if not _same(call.input, former.output):
            raise _Unlike(f"what {former.name} gives is not what {call.name} is given")
    return before, projections, after


def _draw(module: nn.Module, rows: tuple[int, ...]) -> Tensor:
    """An input of the module, in float64."""
    return gated.draw(rows, _fit(_widths(module)) or 0, where(module))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


def _prove(module: nn.Module, settings: Mapping[str, Any]) -> Proof:
    """The bound forward against the module's own, on stand-ins: results and the gradients of the
    input and of every weight, for two shapes.
    """

    def theirs(**tensors: Tensor) -> Tensor:
        x = tensors.pop(_INPUT)
        y: Tensor = type(module).forward(stand_in(module, tensors), x)
        return y

    def ours(**tensors: Tensor) -> Tensor:
        x = tensors.pop(_INPUT)
        twin = stand_in(module, tensors)
        twin.__dict__[SETTINGS] = settings
        y: Tensor = _mlp_forward(twin, x)
        return y

    def takes(tensors: Mapping[str, Tensor]) -> bool:
        try:
            theirs(**tensors)
        except (RuntimeError, ValueError, IndexError):
            return False
        return True

    first, other = (_cases(module, settings, rows) for rows in _ROWS)
    return prove_each(theirs, ours, [*first, *filter(takes, other)])


def _cases(
    module: nn.Module, settings: Mapping[str, Any], rows: tuple[int, ...]
) -> Iterator[dict[str, Tensor]]:
    """Input and weights in each dtype, so large that some is beyond a limit."""
    spread = max(_SPREAD, settings["glu"].get("limit", 0.0))
    tensors = {_INPUT: spread * _draw(module, rows), **draw_weights(module)}
    for dtype in dtypes_of(module):
        yield {name: t.to(dtype) for name, t in tensors.items()}
