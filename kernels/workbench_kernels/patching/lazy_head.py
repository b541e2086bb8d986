"""The forward of a linear head whose loss can be fused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench_kernels.launch import SUPPORTED, interpreted
from workbench_kernels.linear_head import autocast
from workbench_kernels.patching.lazy import Meter, defer

HOOKED = "the head has hooks, which may read its logits or take its weights away"


@dataclass(eq=False)
class LazyHead:
    """Lazy logits where a loss can be fused, real ones elsewhere. Called as the head's forward; it
    is copied and pickled with the head.
    """

    head: nn.Linear
    meter: Meter = field(default_factory=Meter)
    compiled: bool = False  # lazy in a compiled graph as well

    def __call__(self, input: Tensor) -> Tensor:
        # Read here, where whoever shards or offloads the weights has them in place.
        weight, bias = self.head.weight, self.head.bias
        unseen = torch.compiler.is_compiling() and not self.compiled
        if unseen or why_real(self.head, input, weight, bias):
            return F.linear(input, weight, bias)
        # As autocast would; the loss may be computed outside of it.
        cast = None if bias is None else autocast(bias)
        return defer(autocast(input), autocast(weight), cast, self.meter)


def why_real(head: nn.Module, x: Tensor, weight: Any, bias: Any) -> str:
    """Why the logits of a call are computed at once; empty where they needn't be."""
    tensors = [x, weight] if bias is None else [x, weight, bias]
    if not (head.training and torch.is_grad_enabled()):
        return "no loss is trained"
    if head._forward_hooks or head._forward_pre_hooks:
        return HOOKED
    if not all(type(t) in (Tensor, nn.Parameter) for t in tensors):
        return "its input or weights are not plain tensors"
    if any(t.device != x.device for t in tensors) or not (x.is_cuda or interpreted()):
        return "its input or weights are not on one GPU"
    dtypes = {autocast(t.new_empty(0)).dtype for t in tensors}
    if len(dtypes) > 1 or dtypes.pop() not in SUPPORTED:
        return "its input or weights are of a dtype that isn't served, or of two"
    if not torch.compiler.is_compiling() and (
        torch._C._get_tracing_state() is not None or torch._C._are_functorch_transforms_active()
    ):
        return "the model is traced or transformed"
    return ""
