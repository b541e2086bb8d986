"""The cross-entropy of logits that are only recorded, computed without them."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench_kernels.linear_cross_entropy.wrapper import linear_cross_entropy
from workbench_kernels.patching.record import Record

# In so many chunks the logits are computed where they are large: each adds to the gradient of the
# weight, which takes time and is rounded. Without fusing, all are in memory, and in float32 too.
_CHUNKS, _CHUNK_BYTES = 8, 512 << 20


def cross_entropy(
    record: Record,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    divisor: Tensor | float | None = None,
    accuracy: bool = False,
) -> tuple[Tensor, Tensor | None] | None:
    """What `torch.nn.functional.cross_entropy` gives for these logits, and the accuracy if asked
    for; None for a call that this can't serve.

    record: of logits (rows, classes). The sums are float32's whatever the dtype of the logits; the
    result has the dtype that PyTorch's would have.
    """
    if size_average is not None or reduce is not None or record.x.dim() != 2:
        return None
    if type(target) is not Tensor or target.dtype is not torch.int64:
        return None
    if target.shape != record.x.shape[:1] or target.device != record.x.device or not len(target):
        return None
    if weight is not None and (type(weight) is not Tensor or weight.requires_grad):
        return None
    softcap, logit_scale = 0.0, record.scale
    if record.cap is not None:
        # cap·tanh(scale·r), of either sign: the op's softcap is positive.
        softcap, logit_scale = abs(record.cap), record.cap * record.scale
    device = record.x.device.type
    # What was recorded is already of autocast's dtype, where that was on for the head.
    with torch.autocast(device, enabled=False):
        found = linear_cross_entropy(
            record.x,
            record.weight,
            target,
            record.bias,
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            softcap=softcap,
            logit_scale=logit_scale,
            divisor=divisor,
            chunk_bytes=max(_CHUNK_BYTES, _bytes_of_logits(record) // _CHUNKS),
            return_accuracy=accuracy,
        )
    y, share = found if isinstance(found, tuple) else (found, None)
    # Autocast computes losses in float32.
    dtype = torch.float32 if torch.is_autocast_enabled(device) else record.dtype
    return y.to(dtype), share


def _bytes_of_logits(record: Record) -> int:
    return len(record.x) * len(record.weight) * record.x.element_size()
