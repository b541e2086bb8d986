"""The loss of a causal language model from lazy logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.patching.lazy import LazyLogits, cross_entropy


def is_causal(loss: object) -> bool:
    """Whether a loss function is transformers' `ForCausalLMLoss`."""
    name = f"{getattr(loss, '__module__', '')}.{getattr(loss, '__name__', '')}"
    return name == "transformers.loss.loss_utils.ForCausalLMLoss"


def causal_loss(
    original: Callable[..., Tensor],
    logits: Tensor,
    labels: Tensor | None,
    vocab_size: int,
    num_items_in_batch: Tensor | float | None = None,
    ignore_index: int = -100,
    shift_labels: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """y = Σ -log softmax(logitsᵢ)[labelsᵢ₊₁] / num_items_in_batch, or the mean if that is None: as
    `original`, which is `ForCausalLMLoss`, and is called for all that isn't better done here.

    logits: (..., tokens, classes); `shift_labels` are labels of which the first is for the first
    logits.

    The original's own calls are fused as well. But it divides the sum, which multiplies each
    gradient that the fused loss has stored; here the loss divides.
    """
    if (
        isinstance(logits, LazyLogits)
        and isinstance(flat := logits.float().view(-1, vocab_size), LazyLogits)
        and flat.deferred.pending()
        and _is_number(num_items_in_batch)
    ):
        if shift_labels is None and labels is not None:
            shift_labels = F.pad(labels, (0, 1), value=ignore_index)[..., 1:]
        loss = cross_entropy(
            flat.deferred,
            None if shift_labels is None else shift_labels.reshape(-1).to(flat.device),
            ignore_index=ignore_index,
            divisor=_on(flat, num_items_in_batch),
        )
        if loss is not None:
            return loss
    return original(
        logits,
        labels,
        vocab_size,
        num_items_in_batch=num_items_in_batch,
        ignore_index=ignore_index,
        shift_labels=shift_labels,
        **kwargs,
    )


def _is_number(t: object) -> bool:
    return t.dim() == 0 if isinstance(t, Tensor) else isinstance(t, int | float)


def _on(like: Tensor, divisor: Any) -> Any:
    return divisor.to(like.device) if isinstance(divisor, Tensor) else divisor
