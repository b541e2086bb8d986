"""linear_cross_entropy for users: the functional form and the module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.linear_cross_entropy import kernel
from workbench_kernels.linear_head import autocast, check_class_weight, check_head, check_target

_REDUCTIONS = ("none", "mean", "sum")


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    class_weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    divisor: Tensor | float | None = None,
    chunk_bytes: int = 512 << 20,
    compact: bool = True,
    float32_sums: bool = False,
    return_argmax: bool = False,
    return_accuracy: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """y = mean(-log softmax(u)[target]), u = softcap·tanh(logit_scale·r/softcap)/temperature, of
    the logits r = x·Wᵀ + bias, which never are in memory whole

    x: (..., hidden), float32, bfloat16 or float16; on a GPU.
    weight: (classes, hidden); bias: (classes,); both of the dtype of x, frozen or trained.
    target: a class for each row; int64 or int32. A row with `ignore_index` counts for nothing,
        whatever its x holds, and costs nothing; one with any other number that is no class has NaN
        for a loss.
    class_weight: how much each class counts, for "mean" too; without a gradient.
    reduction: "mean" over the targets kept (NaN if there are none), "sum" or "none". With "none",
        and in float16, the backward computes the logits again.
    label_smoothing: what part of the target is spread over all classes.
    z_loss: adds z_loss·(log Σ exp u)² to the loss of each row, weighted as its target is.
    softcap: 0 for none.
    divisor: by what "mean" divides instead, e.g. the tokens of all the batches that gradients are
        added up of. Dividing the result costs a pass over the weight's gradient, and rounds it
        once more.
    chunk_bytes: what the logits of the rows in work may take. Fewer, larger chunks are faster, and
        in 16 bits their sums are rounded less often.
    compact: leave ignored rows out of the products, which waits for the GPU once, to know how many
        there are. Without, they are rows of zeros, nothing waits, and CUDA graphs can record it.
    float32_sums: add up the gradient of a 16-bit weight in float32: 4 more bytes per element.

    Under autocast x, weight and bias are cast to its dtype first.

    Returns y in float32; with any of these a tuple of y and, in this order, what is asked for:
        return_argmax: the class of each row's largest logit, the first of several; -1 if ignored.
        return_accuracy: the share of the targets kept which are the argmax.

    Raises:
        TypeError: a dtype that is not served, or a mix of them.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    x, weight = autocast(x), autocast(weight)
    bias = None if bias is None else autocast(bias)
    check_head("linear_cross_entropy", x, weight, bias)
    check_target("linear_cross_entropy", target, x)
    if class_weight is not None:
        check_class_weight("linear_cross_entropy", class_weight, x, weight.shape[0])
    if reduction not in _REDUCTIONS:
        raise ValueError(
            f"linear_cross_entropy: reduction is {reduction!r}, not one of {_REDUCTIONS}"
        )
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(
            f"linear_cross_entropy: label_smoothing is {label_smoothing}, not in [0, 1]"
        )
    if softcap < 0.0:
        raise ValueError(f"linear_cross_entropy: softcap is {softcap}; 0 is none")
    if not temperature > 0.0:
        raise ValueError(f"linear_cross_entropy: temperature is {temperature}; it must be positive")
    if chunk_bytes < 1:
        raise ValueError(f"linear_cross_entropy: chunk_bytes is {chunk_bytes}; it must be positive")
    if divisor is not None and reduction != "mean":
        raise ValueError(f"linear_cross_entropy: a divisor is for mean, not for {reduction}")
    trained = torch.is_grad_enabled()
    needs = [trained and t is not None and t.requires_grad for t in (x, weight, bias)]
    y, argmax, accuracy, *_gradients = kernel.linear_cross_entropy(
        x.reshape(-1, x.shape[-1]),
        weight,
        target.reshape(-1),
        bias,
        class_weight,
        None if divisor is None else _one_number(divisor, x),
        ignore_index,
        reduction,
        label_smoothing,
        z_loss,
        logit_scale / (softcap or temperature),
        softcap / temperature,
        chunk_bytes,
        compact,
        float32_sums,
        [return_argmax, return_accuracy],
        needs,
    )
    y = y.view(target.shape) if reduction == "none" else y
    first = [argmax.view(target.shape)] if return_argmax else []
    extra = [*first, accuracy] if return_accuracy else first
    return (y, *extra) if extra else y


def _one_number(divisor: Tensor | float, like: Tensor) -> Tensor:
    """On the device, in float32: reading it would wait for the GPU."""
    if not isinstance(divisor, Tensor):
        return torch.full((), divisor, dtype=torch.float32, device=like.device)
    if divisor.numel() != 1 or divisor.device != like.device:
        raise ValueError(
            f"linear_cross_entropy: divisor has shape {tuple(divisor.shape)} on {divisor.device}, "
            f"expected one number on {like.device}"
        )
    return divisor.detach().reshape(()).to(torch.float32)


class LinearCrossEntropy(nn.Module):
    """A linear head and its loss: module form of :func:`linear_cross_entropy`, whose options it
    takes; `weight` may be tied to an embedding's.
    """

    def __init__(self, hidden: int, classes: int, bias: bool = False, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.weight = nn.Parameter(torch.empty(classes, hidden))
        self.bias = nn.Parameter(torch.zeros(classes)) if bias else None
        nn.init.normal_(self.weight, std=hidden**-0.5)

    def forward(self, x: Tensor, target: Tensor) -> Tensor | tuple[Tensor, ...]:
        return linear_cross_entropy(x, self.weight, target, self.bias, **self.options)

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        classes, hidden = self.weight.shape
        return f"{hidden}, {classes}, bias={self.bias is not None}{options}"
