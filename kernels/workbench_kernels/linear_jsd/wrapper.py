"""linear_jsd for users: the functional form and the module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape
from workbench_kernels.linear_head import autocast, check_head, check_target
from workbench_kernels.linear_jsd import kernel

_REDUCTIONS = ("none", "mean", "sum")


def linear_jsd(
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    target: Tensor | None = None,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    *,
    beta: float = 0.5,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    chunk_bytes: int = 512 << 20,
    compact: bool = True,
    float32_sums: bool = False,
) -> Tensor:
    """y = mean(beta·KL(T ‖ M) + (1 - beta)·KL(S ‖ M)), M = beta·T + (1 - beta)·S, of the softmax S
    and T of what the heads of a student and a teacher give, whose logits never are in memory whole

    beta is 0 for KL(T ‖ S), 1 for KL(S ‖ T).

    x: (..., hidden), float32, bfloat16 or float16; on a GPU.
    weight: (classes, hidden); bias: (classes,); frozen or trained.
    teacher_x: (..., teacher's hidden); teacher_weight: (classes, teacher's hidden); teacher_bias:
        (classes,); of the same dtype, without a gradient.
    target: a class for each row, int64 or int32, of which only counts whether it is `ignore_index`.
        Such a row counts for nothing, whatever its x hold, and costs nothing.
    temperature: divides the logits of both; the loss is not multiplied by its square.
    reduction: "mean" over the rows kept (NaN if there are none), "sum" or "none". With "none", and
        in float16, the backward computes the logits again.
    chunk_bytes: what the logits of the rows in work, of both, may take. Fewer, larger chunks are
        faster, and in 16 bits the sums of the weight's gradient are rounded less often.
    compact: leave ignored rows out of the products, which waits for the GPU once, to know how many
        there are. Without, they are rows of zeros, nothing waits, and CUDA graphs can record it.
    float32_sums: add up the gradient of a 16-bit weight in float32: 4 more bytes per element.

    Under autocast all of x, weights and biases are cast to its dtype first.

    Returns y in float32.

    Raises:
        TypeError: a dtype that is not served, or a mix of them.
        ValueError: a shape or an option that doesn't fit, a gradient that the teacher wants, or a
            tensor that is not on a GPU.
    """
    x, weight = autocast(x), autocast(weight)
    teacher_x, teacher_weight = autocast(teacher_x), autocast(teacher_weight)
    bias = None if bias is None else autocast(bias)
    teacher_bias = None if teacher_bias is None else autocast(teacher_bias)
    check_head("linear_jsd", x, weight, bias)
    check_head("linear_jsd", teacher_x, teacher_weight, teacher_bias, whose="teacher_")
    check("linear_jsd", x=x, teacher_x=teacher_x)
    check_shape("linear_jsd", "teacher_x", teacher_x, (*x.shape[:-1], teacher_x.shape[-1]))
    classes = (weight.shape[0], teacher_weight.shape[1])
    check_shape("linear_jsd", "teacher_weight", teacher_weight, classes)
    if target is not None:
        check_target("linear_jsd", target, x)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"linear_jsd: reduction is {reduction!r}, not one of {_REDUCTIONS}")
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"linear_jsd: beta is {beta}, not in [0, 1]")
    if not temperature > 0.0:
        raise ValueError(f"linear_jsd: temperature is {temperature}; it must be positive")
    if chunk_bytes < 1:
        raise ValueError(f"linear_jsd: chunk_bytes is {chunk_bytes}; it must be positive")
    trained = torch.is_grad_enabled()
    for name, t in (("x", teacher_x), ("weight", teacher_weight), ("bias", teacher_bias)):
        if trained and t is not None and t.requires_grad:
            raise ValueError(f"linear_jsd: teacher_{name} requires a gradient, and has none")
    needs = [trained and t is not None and t.requires_grad for t in (x, weight, bias)]
    y, *_gradients = kernel.linear_jsd(
        x.reshape(-1, x.shape[-1]),
        weight,
        teacher_x.reshape(-1, teacher_x.shape[-1]),
        teacher_weight,
        None if target is None else target.reshape(-1),
        bias,
        teacher_bias,
        beta,
        temperature,
        ignore_index,
        reduction,
        chunk_bytes,
        compact,
        float32_sums,
        needs,
    )
    return y.view(x.shape[:-1]) if reduction == "none" else y


class LinearJsd(nn.Module):
    """Module form of :func:`linear_jsd`, whose options it takes: the student's head, trained of a
    teacher's.
    """

    def __init__(self, hidden: int, classes: int, bias: bool = False, **options: Any) -> None:
        super().__init__()
        self.options = options
        self.weight = nn.Parameter(torch.empty(classes, hidden))
        self.bias = nn.Parameter(torch.zeros(classes)) if bias else None
        nn.init.normal_(self.weight, std=hidden**-0.5)

    def forward(
        self,
        x: Tensor,
        teacher_x: Tensor,
        teacher_weight: Tensor,
        target: Tensor | None = None,
        teacher_bias: Tensor | None = None,
    ) -> Tensor:
        return linear_jsd(
            x,
            self.weight,
            teacher_x,
            teacher_weight,
            target,
            self.bias,
            teacher_bias,
            **self.options,
        )

    def extra_repr(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        classes, hidden = self.weight.shape
        return f"{hidden}, {classes}, bias={self.bias is not None}{options}"
