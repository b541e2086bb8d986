"""linear_logprobs for users: the functional form and the module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.linear_head import autocast, check_head, check_target
from workbench_kernels.linear_logprobs import kernel


def linear_logprobs(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    ignore_index: int = -100,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_entropy: bool = False,
    return_top1: bool = False,
    keep_bytes: int = 256 << 20,
    chunk_bytes: int = 256 << 20,
    compact: bool = True,
    float32_sums: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """y = log softmax(u)[target], u = softcap·tanh(logit_scale·r/softcap)/temperature, of the
    logits r = x·Wᵀ + bias: what losses of preferences and of policies are made of

    x: (..., hidden), float32, bfloat16 or float16; on a GPU.
    weight: (classes, hidden); bias: (classes,); both of the dtype of x, frozen or trained.
    target: a class for each row; int64 or int32. A row with `ignore_index` costs nothing and has 0,
        whatever its x holds; one with any other number that is no class has NaN.
    softcap: 0 for none.
    return_entropy: -Σ p·log p of each row too, with p = softmax(u); 0 where ignored.
    return_top1: whether the target is the row's most likely class, the first of several, too; False
        where ignored.
    keep_bytes: what logits may take that are kept for the backward, which multiplies the others
        again. Its time is 8 parts where none are kept, 6 where all are. As much as chunk_bytes is
        in use as long as the graph is, but adds nothing to the most that the backward takes.
    chunk_bytes: what the logits of the rows in work may take. Fewer, larger chunks are faster, and
        in 16 bits the sums of the weight's gradient are rounded less often.
    compact: leave ignored rows out of the products, for which the forward waits for the GPU, to
        know how many there are. Without, they are rows of zeros, nothing waits, and CUDA graphs can
        record it.
    float32_sums: add up the gradient of a 16-bit weight in float32: 4 more bytes per element.

    Under autocast x, weight and bias are cast to its dtype first.

    Returns y; with any of these a tuple of y and, in this order, the entropy and the bools of
    return_top1. All have the shape of target, y and the entropy are differentiable and in float32.

    Raises:
        TypeError: a dtype that is not served, or a mix of them.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    x, weight = autocast(x), autocast(weight)
    bias = None if bias is None else autocast(bias)
    check_head("linear_logprobs", x, weight, bias)
    check_target("linear_logprobs", target, x)
    if softcap < 0.0:
        raise ValueError(f"linear_logprobs: softcap is {softcap}; 0 is none")
    if not temperature > 0.0:
        raise ValueError(f"linear_logprobs: temperature is {temperature}; it must be positive")
    if chunk_bytes < 1 or keep_bytes < 0:
        raise ValueError(
            f"linear_logprobs: chunk_bytes is {chunk_bytes} and keep_bytes {keep_bytes}; they must "
            f"be positive, and not negative"
        )
    trained = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias)
    )
    log_prob, entropy, top, *_saved = kernel.linear_logprobs(
        x.reshape(-1, x.shape[-1]),
        weight,
        target.reshape(-1),
        bias,
        ignore_index,
        logit_scale / (softcap or temperature),
        softcap / temperature,
        [return_entropy, return_top1],
        keep_bytes if trained else 0,
        chunk_bytes,
        compact,
        float32_sums,
    )
    log_prob = log_prob.view(target.shape)
    first = [entropy.view(target.shape)] if return_entropy else []
    extra = [*first, top.view(target.shape)] if return_top1 else first
    return (log_prob, *extra) if extra else log_prob


class LinearLogprobs(nn.Module):
    """A linear head and its log-probabilities: module form of :func:`linear_logprobs`, whose
    options it takes.
    """

    def __init__(self, hidden: int, classes: int, bias: bool = False, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.weight = nn.Parameter(torch.empty(classes, hidden))
        self.bias = nn.Parameter(torch.zeros(classes)) if bias else None
        nn.init.normal_(self.weight, std=hidden**-0.5)

    def forward(self, x: Tensor, target: Tensor) -> Tensor | tuple[Tensor, ...]:
        return linear_logprobs(x, self.weight, target, self.bias, **self.options)

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        classes, hidden = self.weight.shape
        return f"{hidden}, {classes}, bias={self.bias is not None}{options}"
