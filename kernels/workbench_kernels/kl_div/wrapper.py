"""kl_div for users: the functional form and the module."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.divergence import check_loss
from workbench_kernels.kl_div import kernel


def kl_div(
    input: Tensor,
    target: Tensor,
    labels: Tensor | None = None,
    *,
    log_target: bool = False,
    from_logits: bool = False,
    reverse: bool = False,
    temperature: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """y = mean(target·(log target - input)) over the rows that count: KL(target‖input) by elements

    As torch.nn.functional.kl_div, its default reduction included, which is no mean over rows.

    input: log-probabilities of any shape, along the last dimension; float32, bfloat16 or float16;
        on a GPU. Slices, too, are read where they are if a row's elements are dense.
    target: probabilities, of the shape and dtype of input; with `log_target` their logarithms.
    labels: a number for each row, int64 or int32; a row with `ignore_index` counts for nothing:
        neither its loss nor its gradient hangs on what is in it, NaN or not.
    from_logits: input and target are logits, those of student and teacher, and the distributions
        softmax(input / temperature) and softmax(target / temperature).
    reverse: KL(input‖target), which is small where the target has all that the input has.
    reduction: "mean" over the elements of the rows that count (NaN if there are none), "batchmean"
        over those rows, "sum", or "none" for a value per row. Where there are more than two
        dimensions PyTorch's batchmean counts the entries of the first, this one rows.

    Returns y in float32. Both input and target have a gradient if they ask for it.

    Raises:
        TypeError: a dtype that is not served.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    check_loss("kl_div", input, target, labels, from_logits, temperature, reduction)
    if from_logits and log_target:
        raise ValueError("kl_div: from_logits says that target is logits; leave log_target out")
    y: Tensor = kernel.kl_div(
        input,
        target,
        labels,
        log_target,
        from_logits,
        reverse,
        temperature,
        ignore_index,
        reduction,
    )[0]
    return y


class KlDiv(nn.Module):
    """Module form of :func:`kl_div`."""

    def __init__(
        self,
        *,
        log_target: bool = False,
        from_logits: bool = False,
        reverse: bool = False,
        temperature: float = 1.0,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.log_target = log_target
        self.from_logits = from_logits
        self.is_reverse = reverse
        self.temperature = temperature
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor, labels: Tensor | None = None) -> Tensor:
        return kl_div(
            input,
            target,
            labels,
            log_target=self.log_target,
            from_logits=self.from_logits,
            reverse=self.is_reverse,
            temperature=self.temperature,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return (
            f"log_target={self.log_target}, from_logits={self.from_logits}, "
            f"reverse={self.is_reverse}, temperature={self.temperature}, "
            f"reduction={self.reduction}"
        )
