"""Whether a kernel computes what a module's own forward does: outputs and gradients, on random
values, against the truth in float64, by the library's own bound (`bound.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench_kernels.bound import compare
from workbench_kernels.launch import SUPPORTED
from workbench_kernels.spec import OpSpec, Traffic
from workbench_kernels.truth import expect, run

_NOTHING = Traffic(reads=0, writes=0)


@dataclass(frozen=True)
class Proof:
    """What was seen: the worst error over PyTorch's, the share of outputs in 16 bits with the same
    bits (None for float32), and what is wrong, "" if nothing is.
    """

    ratio: float
    same: float | None
    wrong: str


def prove(
    theirs: Callable[..., Tensor | tuple[Tensor, ...]],
    ours: Callable[..., Tensor | tuple[Tensor, ...]],
    tensors: Mapping[str, Tensor],
    differentiable: Sequence[str] | None = None,
) -> Proof:
    """Call both with these tensors, by name; the gradients of all, or of those, are compared too.

    `theirs` is the truth, computed in float64, whatever it casts to float32 on the way.
    """
    spec = OpSpec(
        name="module",
        tier=1,
        reference=theirs,
        inputs=lambda rows, cols: (),
        tensors=tuple(tensors),
        differentiable=tuple(tensors if differentiable is None else differentiable),
        forward=_NOTHING,
        backward=_NOTHING,
        shapes=(),
        sweep=(),
    )
    inputs = list(tensors.values())
    expected = expect(spec, inputs)
    if spec.differentiable and None in expected.upstream:
        return Proof(math.inf, None, "an output of its has no gradient")
    # What has no effect has no gradient, which is the truth if theirs is zero.
    zeros = {f"d{name}": torch.zeros_like(tensors[name]) for name in spec.differentiable}
    got = zeros | run(spec, ours, inputs, expected.upstream)
    comparisons = compare(got, expected)
    wrong = next((c.message for c in comparisons if c.message), "")
    outputs = [name for name in got if name.startswith("y")]
    same = None
    if not wrong and all(got[name].dtype is not torch.float32 for name in outputs):
        same = min(float((got[y] == expected.eager[y]).double().mean()) for y in outputs)
    return Proof(max(c.ratio for c in comparisons), same, wrong)


def prove_each(
    theirs: Callable[..., Tensor | tuple[Tensor, ...]],
    ours: Callable[..., Tensor | tuple[Tensor, ...]],
    cases: Iterable[Mapping[str, Tensor]],
) -> Proof:
    """The worst that is seen with any of these tensors, or the first that is wrong."""
    seen = []
    for tensors in cases:
        seen.append(found := prove(theirs, ours, tensors))
        if found.wrong:
            return found
    return worst(seen)


def worst(proofs: Sequence[Proof]) -> Proof:
    """Of all these, and the first that is wrong."""
    same = [found.same for found in proofs if found.same is not None]
    wrong = next((found.wrong for found in proofs if found.wrong), "")
    return Proof(max(found.ratio for found in proofs), min(same, default=None), wrong)


def dtypes_of(module: nn.Module) -> list[torch.dtype]:
    """In which a kernel is to be proven: those of the module's parameters, and bfloat16."""
    served = [p.dtype for p in module.parameters() if p.dtype in SUPPORTED]
    return list(dict.fromkeys([*served, torch.bfloat16]))
