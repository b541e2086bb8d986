"""One call of the op under judgement: its inputs as leaves, its outputs, its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench_kernels.spec import Option
from workbench_kernels.truth import gradients, without


@dataclass(frozen=True)
class Call:
    """What to call with what: inputs are given by their names. `needs` are those that want a
    gradient, `upstream` the gradients sent back, one per output.
    """

    names: Sequence[str]
    inputs: Sequence[Tensor]
    needs: Sequence[str]
    upstream: Sequence[Tensor | None]
    parameters: Mapping[str, Option]
    kept: dict[tuple[int, bool, bool], Tensor] = field(default_factory=dict)

    def leaves(self) -> list[Tensor | None]:
        """The inputs as the candidate gets them, sharing memory with ours: the same object in each
        call that is given `kept`, as a weight is for a training job. None is left out.
        """
        named = zip(self.names, self.inputs, strict=True)
        return [
            None if name in self.parameters else self._leaf(t, name in self.needs)
            for name, t in named
        ]

    def _leaf(self, t: Tensor, needed: bool) -> Tensor:
        key = id(t), needed, torch.is_inference_mode_enabled()
        if key not in self.kept:
            self.kept[key] = t.detach().requires_grad_(needed)
        return self.kept[key]

    def changed(self, leaves: Sequence[Tensor | None]) -> list[str]:
        """What a call did to its inputs besides their values."""
        return [
            f"the input {name} is {now}, was {before}"
            for name, t, leaf in zip(self.names, self.inputs, leaves, strict=True)
            if leaf is not None and (now := _look(leaf)) != (before := _look(t, name in self.needs))
        ]

    def outputs(
        self, function: Callable[..., Any], *, inner: bool = False
    ) -> tuple[list[Tensor | None], tuple[Any, ...]]:
        """The leaves, and what the function returned for them; `inner`: for views of them, which
        are no leaves, as an inner layer of a network gets.
        """
        leaves = self.leaves()
        passed = (t if t is None or not inner else t.view_as(t) for t in leaves)
        named = dict(zip(self.names, passed, strict=True))
        given = function(**named, **without(self.names, self.parameters))
        return leaves, given if isinstance(given, tuple) else (given,)

    def gradients(
        self, leaves: Sequence[Tensor | None], outputs: Sequence[Tensor], *, again: bool = False
    ) -> dict[str, Tensor]:
        """The gradients, by the input's name; `again`: so that they can be asked for again."""
        return gradients(self.names, leaves, outputs, self.upstream, again=again)


def twice(leaves: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Derivatives of the summed gradients by the inputs and by the upstream gradients."""
    ys = [y for y in outputs if y.requires_grad]
    sent = [torch.ones_like(y, requires_grad=True) for y in ys]
    wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    grads = torch.autograd.grad(ys, wanted, sent, create_graph=True, materialize_grads=True)
    connected = [g.sum() for g in grads if g.requires_grad]
    if not connected:  # as constants, which is what they claim to be
        return [torch.zeros_like(t) for t in (*wanted, *sent)]
    # Not by `grad`, which leaves out where nothing asked for comes from: `once_differentiable`
    # refuses there.
    torch.stack(connected).sum().backward()  # type: ignore[no-untyped-call]
    return [torch.zeros_like(t) if t.grad is None else t.grad for t in (*wanted, *sent)]


def change(tensors: Sequence[Any]) -> None:
    """Change floating tensors in place, as their owner may; autograd counts it."""
    for t in tensors:
        if isinstance(t, Tensor) and t.is_floating_point():
            t.detach().mul_(2).add_(1)


def _look(t: Tensor, needs: bool | None = None) -> str:
    own = f" with attributes ({', '.join(vars(t))})" if vars(t) else ""
    wants = t.requires_grad if needs is None else needs
    wanted = "wanting a gradient" if wants else "wanting none"
    return f"{tuple(t.shape)} strided {t.stride()} {wanted}{own}"


def form(y: Any) -> str:
    """What an output is, besides its values."""
    if type(y) is not Tensor:
        return f"a {type(y).__name__}, not a plain tensor"
    if vars(y):
        return f"a tensor with attributes of its own ({', '.join(vars(y))})"
    layout = "contiguous" if y.is_contiguous() else f"strided {y.stride()}"
    gradient = "with" if y.requires_grad else "without"
    return f"{y.dtype} {tuple(y.shape)} {layout} on {y.device.type} {gradient} a gradient"


def share_memory(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors that have elements lie in one piece of memory."""
    return a.numel() > 0 and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


@contextmanager
def uninitialised_is_nan() -> Iterator[None]:
    """`torch.empty` and its kin return NaN, so that what a kernel forgets to write is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
