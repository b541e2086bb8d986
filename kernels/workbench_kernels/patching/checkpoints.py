"""Gradient checkpointing that doesn't compute attention twice, as long as there is memory for it.

A layer that is checkpointed is computed again in the backward. An element of attention's result
takes 2·T operations at T tokens (causal), one of a projection 2·H of H features, which a GPU does
faster: so attention's results are what is best kept. They are as large as the inputs of the layers,
which checkpoints keep anyway, and a limit says how many bytes of them there may be. Within it the
last ones of a forward are kept: their memory is free again as the backward begins, before the
gradients of parameters fill it, beside most of which kept first ones would still be there.

    model.gradient_checkpointing_enable(keep_attention(6 * 2**30))

It is no matter of the library's kernels: models as they are take it too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

_ATTENTION = "_scaled_dot_product_"


def keep_attention(limit: int | None = None) -> dict[str, Any]:
    """What `torch.utils.checkpoint.checkpoint` and `gradient_checkpointing_enable` are to be given.

    limit: bytes of results to keep at a time, None for all; those of the last layers of a forward
        are kept, in the first forward, which doesn't know how many follow, of the first. Beside
        each the GPU keeps the logarithm of its sums, a few percent of it.

    It is scaled_dot_product_attention's results that are kept, of whichever of PyTorch's kernels,
    until the backward has taken them. What the limit has no room for is computed again, as ever.

    Raises:
        ValueError: the limit is negative.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"keep_attention: the limit is {limit} bytes, which is negative")
    return {"use_reentrant": False, "context_fn": _Checkpoints(limit)}


@dataclass(eq=False)
class _Checkpoints:
    """Makes what a checkpoint is computed within, then and again.

    `held` bytes are kept now; `count` results there were in this forward, `known` in the last one.
    A forward begins with the first result after something was given back, in a backward or unused.
    """

    limit: int | None
    held: int = 0
    count: int = 0
    known: int = 0
    ended: bool = False

    def __call__(self) -> tuple[Any, Any]:
        kept = _Kept()
        weakref.finalize(kept, self._release, kept.sizes)
        forward, again = create_selective_checkpoint_contexts(self._policy(kept))
        # What computes it again is there as long as what was kept for it.
        again._workbench_kernels_kept = kept  # type: ignore[attr-defined]
        return forward, again

    def _policy(self, kept: _Kept) -> Callable[..., CheckpointPolicy]:
        def policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
            if not _is_attention(op):
                return CheckpointPolicy.PREFER_RECOMPUTE
            if not ctx.is_recompute:
                kept.answers.append(self._keeps(kept, *args[:3]))
                return kept.answers[-1]
            return kept.answers.pop(0)  # PyTorch before 2.13 asks again

        return policy

    def _keeps(self, kept: _Kept, query: Tensor, key: Tensor, value: Tensor) -> CheckpointPolicy:
        size = query[..., 0].numel() * value.shape[-1] * value.itemsize
        if self.ended:
            self.known, self.count, self.ended = self.count, 0, False
        following = max(0, self.known - self.count) * size  # with this one
        self.count += 1
        if self.limit is not None and max(self.held + size, following) > self.limit:
            return CheckpointPolicy.PREFER_RECOMPUTE
        self.held += size
        kept.sizes.append(size)
        return CheckpointPolicy.MUST_SAVE

    def _release(self, sizes: list[int]) -> None:
        self.held -= sum(sizes)
        self.ended = True


class _Kept:
    """What one checkpoint keeps; it is gone when the checkpoint is."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.answers: list[CheckpointPolicy] = []


def _is_attention(op: Any) -> bool:
    """Whether it is a forward of attention: one that gives what its backward needs, too."""
    if not isinstance(op, torch._ops.OpOverload) or op.namespace != "aten":
        return False
    name = op.overloadpacket.__name__
    return name.startswith(_ATTENTION) and not name.endswith("_backward")
