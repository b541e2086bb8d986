"""A gated MLP of plain projections, down(act(gate(x))·up(x)), as one node of the graph.

Node by node the backward needs x, gate, up and their product, and makes room for the gradients
beside them. This one keeps x, gate and up; the kernel that computes their gradients makes the
product again, and all three are written over what they are of, unless the graph is kept. Nobody
else has these tensors, but for a hook of saved tensors, which must not hold on to what it is given.

The node is there before the last projection is computed. A checkpoint that computes a block again
stops once it has all that nodes keep, so it computes neither the product nor that projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.module import _has_any_global_hook

from workbench_kernels.glu.kernel import glu, glu_backward_in_place
from workbench_kernels.launch import SUPPORTED
from workbench_kernels.patching.instance import goes_with


class _Weights(NamedTuple):
    """Of the projections: of gate, which may be that of both in one, of up, and the last."""

    gate: Tensor
    gate_bias: Tensor | None
    up: Tensor | None
    up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


def gated_mlp(module: nn.Module, settings: Mapping[str, Any], x: Tensor) -> Tensor | None:
    """What the last projection gives, or None where it takes more than products of plain tensors:
    then each projection is to be called as a module.

    settings: as `mlps.py` found them.
    """
    if torch.compiler.is_compiling():
        return None
    projections = _projections(module, settings)
    plain = projections and all(_is_plain(projection, x) for projection in projections)
    if not plain or not _is_trained(x):
        return None
    first, *others, last = projections
    up_weight, up_bias = (others[0].weight, others[0].bias) if others else (None, None)
    weights = _Weights(first.weight, first.bias, up_weight, up_bias, last.weight, last.bias)
    options = _options(settings)
    node, gates, ups = _GatedMlp.apply(x, *weights, options)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        product = glu(gates, ups, *options)
    last_weights = (None if t is None else t.detach() for t in (last.weight, last.bias))
    y: Tensor = _Last.apply(node, product, *last_weights)  # type: ignore[no-untyped-call]
    return y


def _projections(module: nn.Module, settings: Mapping[str, Any]) -> list[Any]:
    """Those of gate, of up if that has its own, and the last one; none if it has other steps."""
    names, order = list(settings["projections"]), settings["order"]
    simple = not settings["before"] and len(settings["after"]) == 1 and not settings["gate_scale"]
    if not simple or (len(names) == 1 and order == "up, gate"):
        return []
    if order == "up, gate":
        names.reverse()
    return [module._modules[name] for name in (*names, *settings["after"])]


def _options(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """Those of the kernel, in its order."""
    said = {"limit": None, "alpha": 1.0, "up_offset": 0.0, **settings["glu"]}
    interleaved = settings["order"] == "interleaved"
    return said["activation"], interleaved, said["limit"], said["alpha"], said["up_offset"]


def _is_trained(x: Tensor) -> bool:
    """Whether a graph is made, of x as it is: nothing traces, transforms or casts."""
    return (
        torch.is_grad_enabled()
        and type(x) is Tensor
        and x.dtype in SUPPORTED
        and x.is_contiguous()
        and not torch.is_autocast_enabled(x.device.type)
        and torch._C._get_tracing_state() is None
        and not torch._C._are_functorch_transforms_active()
        and not _has_any_global_hook()
    )


def _is_plain(projection: Any, x: Tensor) -> bool:
    """Whether a projection is the product with its weight, which nobody watches or replaces."""
    if type(projection) is not nn.Linear or "forward" in vars(projection):
        return False
    kept = vars(projection)
    if any(value for name, value in kept.items() if name.endswith("_hooks")):
        return False
    return all(goes_with(t, x) for t in (projection.weight, projection.bias) if t is not None)


class _GatedMlp(torch.autograd.Function):
    """The first projections, and of the graph the node of the whole.

    Returns what stands for the result in the graph and is never read, gate, and up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        *given, ctx.options = rest
        weights = _Weights(*given)
        gate = F.linear(x, weights.gate, weights.gate_bias)
        up = None if weights.up is None else F.linear(x, weights.up, weights.up_bias)
        ctx.save_for_backward(x, gate, up, weights.gate, weights.up, weights.down)
        ctx.mark_non_differentiable(*(t for t in (gate, up) if t is not None))
        ctx.set_materialize_grads(False)
        return x.new_empty(()).expand(*x.shape[:-1], len(weights.down)), gate, up

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 8
        x, gate, up, gate_weight, up_weight, down_weight = ctx.saved_tensors
        needs = _Needs(*ctx.needs_input_grad[:7])
        shape = x.shape
        if torch._C._autograd._get_current_graph_task_keep_graph():
            gate, up = gate.clone(), None if up is None else up.clone()
        dy, x = _rows(dy), _rows(x)
        product = (dy @ down_weight).view(*shape[:-1], down_weight.shape[1])
        glu_backward_in_place(product, gate, up, *ctx.options)
        product, gate, up = map(_rows, (product, gate, up))
        down = dy.t() @ product if needs.down else None
        down_bias = dy.sum(0) if needs.down_bias else None
        del product
        dgate, dup, dx = gate, up, None
        if needs.x:
            dx = dgate @ gate_weight
            dx = (dx if dup is None else dx.addmm_(dup, up_weight)).view(shape)
        return (
            dx,
            dgate.t() @ x if needs.gate else None,
            dgate.sum(0) if needs.gate_bias else None,
            dup.t() @ x if needs.up else None,
            dup.sum(0) if needs.up_bias else None,
            down,
            down_bias,
            None,
        )


class _Needs(NamedTuple):
    """Which gradients are asked for."""

    x: bool
    gate: bool
    gate_bias: bool
    up: bool
    up_bias: bool
    down: bool
    down_bias: bool


def _rows(t: Tensor | None) -> Any:
    return None if t is None else t.reshape(-1, t.shape[-1])


class _Last(torch.autograd.Function):
    """The last projection, whose gradients are the other node's to compute."""

    @staticmethod
    def forward(
        ctx: Any, node: Tensor, product: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        return F.linear(product, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        return dy, None, None, None
