"""jsd for users: the functional form and the module."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.divergence import check_loss
from workbench_kernels.jsd import kernel


def jsd(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None = None,
    *,
    beta: float = 0.5,
    from_logits: bool = True,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "batchmean",
) -> Tensor:
    """y = mean((1 - beta)·KL(p‖m) + beta·KL(q‖m)), with m = (1 - beta)·p + beta·q

    The generalised Jensen-Shannon divergence of Agarwal et al., "On-policy distillation of language
    models" (2024), of p = softmax(input / temperature) from q = softmax(target / temperature).
    A beta of 0 is KL(q‖p), one of 1 KL(p‖q), which the divergence is not near where beta is.

    input: logits of the student, of any shape, classes along the last dimension; float32, bfloat16
        or float16; on a GPU. Slices, too, are read where they are if a row's classes are dense.
    target: logits of the teacher, of the shape and dtype of input.
    labels: a number for each row, int64 or int32; a row with `ignore_index` counts for nothing:
        neither its loss nor its gradient hangs on what is in it, NaN or not.
    from_logits: False if input and target are log-probabilities; then no softmax is taken.
    reduction: "batchmean" over the rows that count (NaN if there are none), "mean" over their
        elements, "sum", or "none" for a value per row.

    Returns y in float32. Both input and target have a gradient if they ask for it.

    Raises:
        TypeError: a dtype that is not served.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    check_loss("jsd", input, target, labels, from_logits, temperature, reduction)
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"jsd: beta is {beta}, not in [0, 1]")
    y: Tensor = kernel.jsd(
        input, target, labels, beta, from_logits, temperature, ignore_index, reduction
    )[0]
    return y


class Jsd(nn.Module):
    """Module form of :func:`jsd`."""

    def __init__(
        self,
        *,
        beta: float = 0.5,
        from_logits: bool = True,
        temperature: float = 1.0,
        ignore_index: int = -100,
        reduction: str = "batchmean",
    ) -> None:
        super().__init__()
        self.beta = beta
        self.from_logits = from_logits
        self.temperature = temperature
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor, labels: Tensor | None = None) -> Tensor:
        return jsd(
            input,
            target,
            labels,
            beta=self.beta,
            from_logits=self.from_logits,
            temperature=self.temperature,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return (
            f"beta={self.beta}, from_logits={self.from_logits}, temperature={self.temperature}, "
            f"ignore_index={self.ignore_index}, reduction={self.reduction}"
        )
