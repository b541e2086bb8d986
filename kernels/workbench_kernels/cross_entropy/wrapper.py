"""cross_entropy for users: the functional form and the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workbench_kernels.cross_entropy import kernel
from workbench_kernels.launch import SUPPORTED, check, check_shape, check_width

_REDUCTIONS = ("none", "mean", "sum")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    return_log_prob: bool = False,
    return_entropy: bool = False,
    return_argmax: bool = False,
    return_accuracy: bool = False,
    inplace: bool = False,
) -> Tensor | tuple[Tensor, ...]:
    """y = mean(-log softmax(u)[target]), u = softcap·tanh(logit_scale·input/softcap)/temperature

    input: logits of any shape, classes along the last dimension; float32, bfloat16 or float16; on a
        GPU. A row is read where it lies if its classes lie side by side.
    target: a class for each row; int64 or int32. A row with `ignore_index` counts for nothing:
        neither its loss nor its gradient hangs on what is in it, NaN or not. One with any other
        number that is no class has NaN for a loss.
    weight: how much each class counts, for "mean" too; without a gradient.
    reduction: "mean" over the targets kept (NaN if there are none), "sum" or "none".
    label_smoothing: what part of the target is spread over all classes.
    z_loss: adds z_loss·(log Σ exp u)² to the loss of each row, weighted as its target is.
    softcap: 0 for none.
    inplace: the backward writes the gradient over `input`, which must be contiguous and is lost.

    Returns y in float32; with any of these a tuple of y and, in this order, what is asked for:
        return_log_prob: log softmax(u)[target] of each row, 0 where ignored; differentiable.
        return_entropy: -Σ p·log p, with p = softmax(u), of each row; differentiable.
        return_argmax: the class of each row's largest logit, the first of several; NaN is largest.
        return_accuracy: the share of the targets kept which are the argmax.

    Raises:
        TypeError: a dtype that is not served.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    check("cross_entropy", input=input)
    check_width("cross_entropy", "input", input)
    _check_target(input, target)
    if weight is not None:
        _check_weight(input, weight)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"cross_entropy: reduction is {reduction!r}, not one of {_REDUCTIONS}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, not in [0, 1]")
    if softcap < 0.0:
        raise ValueError(f"cross_entropy: softcap is {softcap}; 0 is none")
    if not temperature > 0.0:
        raise ValueError(f"cross_entropy: temperature is {temperature}; it must be positive")
    if inplace and not input.is_contiguous():
        raise ValueError("cross_entropy: input is not contiguous, so not overwritten in place")
    asked = [return_log_prob, return_entropy, return_argmax, return_accuracy]
    outputs: tuple[Tensor, ...] = kernel.cross_entropy(
        input,
        target,
        weight,
        ignore_index,
        reduction,
        label_smoothing,
        z_loss,
        logit_scale / (softcap or temperature),
        softcap / temperature,
        inplace,
        asked,
    )
    if not any(asked):
        return outputs[0]
    pairs = zip(outputs[1:], asked, strict=False)
    return (outputs[0], *[output for output, wanted in pairs if wanted])


def _check_target(input: Tensor, target: Tensor) -> None:
    if target.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"cross_entropy: target is {target.dtype}; served are int64 and int32")
    if target.device != input.device:
        raise ValueError(f"cross_entropy: target is on {target.device}, input on {input.device}")
    check_shape("cross_entropy", "target", target, input.shape[:-1])


def _check_weight(input: Tensor, weight: Tensor) -> None:
    if weight.dtype not in SUPPORTED:
        raise TypeError(
            f"cross_entropy: weight is {weight.dtype}; served are float32, bfloat16 and float16"
        )
    if weight.device != input.device:
        raise ValueError(f"cross_entropy: weight is on {weight.device}, input on {input.device}")
    check_shape("cross_entropy", "weight", weight, input.shape[-1:])
    if weight.requires_grad:
        raise ValueError("cross_entropy: weight requires a gradient, which it has none of")


class CrossEntropy(nn.Module):
    """Module form of :func:`cross_entropy`."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        softcap: float = 0.0,
        logit_scale: float = 1.0,
        temperature: float = 1.0,
        return_log_prob: bool = False,
        return_entropy: bool = False,
        return_argmax: bool = False,
        return_accuracy: bool = False,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss
        self.softcap = softcap
        self.logit_scale = logit_scale
        self.temperature = temperature
        self.return_log_prob = return_log_prob
        self.return_entropy = return_entropy
        self.return_argmax = return_argmax
        self.return_accuracy = return_accuracy
        self.inplace = inplace

    def forward(self, input: Tensor, target: Tensor) -> Tensor | tuple[Tensor, ...]:
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            softcap=self.softcap,
            logit_scale=self.logit_scale,
            temperature=self.temperature,
            return_log_prob=self.return_log_prob,
            return_entropy=self.return_entropy,
            return_argmax=self.return_argmax,
            return_accuracy=self.return_accuracy,
            inplace=self.inplace,
        )

    def extra_repr(self) -> str:
        return (
            f"ignore_index={self.ignore_index}, reduction={self.reduction}, "
            f"label_smoothing={self.label_smoothing}, z_loss={self.z_loss}, "
            f"softcap={self.softcap}, logit_scale={self.logit_scale}, "
            f"temperature={self.temperature}"
        )
