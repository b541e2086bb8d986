"""TRL's trainers, of examples, preferences and policies, by `linear_logprobs`.

They give a model a forward of TRL's own, whose head computes the log-probabilities and entropies of
tokens without the logits of all. That head multiplies everything again in the backward; this one
keeps what it is allowed to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from workbench_kernels.launch import SUPPORTED, interpreted
from workbench_kernels.linear_logprobs.wrapper import linear_logprobs
from workbench_kernels.patching.apply import PatchError
from workbench_kernels.patching.functions import copied_with
from workbench_kernels.patching.rule import Undo

_FUNCTION = "_ChunkedLogProbFunction"
_SERVED = frozenset({"log_probs", "entropy", "mean_logits", "is_top1"})


def fuse_logprobs(model: nn.Module, *, keep_bytes: int = 1 << 30) -> Undo:
    """Have `linear_logprobs` serve the head that TRL gave this model: `trainer.model`, and
    `trainer.ref_model` if there is one. Returns what undoes it.

    keep_bytes: what logits may take that are kept for the backward.

    Calls that ask for what is seen in the logits only, as WPO's weights, or that have tensors of
    several dtypes, are TRL's own.

    Raises:
        PatchError: TRL gave it no such head, as the trainer has to be made first; or it is served.
    """
    inner = _with_head(model)
    if inner is None:
        raise PatchError("TRL gave this model no head of its own; make the trainer first")
    forward = vars(inner)["forward"]
    theirs = forward.__func__.__globals__[_FUNCTION]
    ours = copied_with(forward.__func__, {_FUNCTION: _Logprobs(theirs, keep_bytes)})
    vars(inner)["forward"] = MethodType(ours, inner)

    def undo() -> None:
        vars(inner)["forward"] = forward

    return undo


def has_head(model: nn.Module) -> bool:
    """Whether TRL gave this model a head that `fuse_logprobs` can have served."""
    return _with_head(model) is not None


def _with_head(model: nn.Module) -> nn.Module | None:
    """The model within that has TRL's forward, with TRL's function: adapters are around it."""
    for module in model.modules():
        forward = vars(module).get("forward")
        known = getattr(getattr(forward, "__func__", None), "__globals__", {})
        if _FUNCTION in known and not isinstance(known[_FUNCTION], _Logprobs):
            return module
    return None


class _Logprobs:
    """Called as TRL's autograd function is."""

    def __init__(self, theirs: Any, keep_bytes: int) -> None:
        self._theirs: Callable[..., Any] = theirs.apply
        self._keep_bytes = keep_bytes

    def apply(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        chunk_size: int,
        softcap: float | None = None,
        logit_scale: float = 1.0,
        outputs: Sequence[str] = (),
    ) -> tuple[Tensor | None, ...]:
        """The log-probability and the entropy of each target, the mean of its logits, whether it is
        the most likely one, and None for what is not asked for.
        """
        served = _SERVED - {"mean_logits"} if softcap else _SERVED
        if not served.issuperset(outputs) or not _fits(hidden, weight, bias):
            given = hidden, weight, bias, targets, temperature, chunk_size, softcap, logit_scale
            found: tuple[Tensor | None, ...] = self._theirs(*given, outputs)
            return found
        log_probs, entropy, *top = linear_logprobs(
            hidden,
            weight,
            targets,
            bias,
            softcap=softcap or 0.0,
            logit_scale=logit_scale,
            temperature=temperature,
            return_entropy=True,
            return_top1="is_top1" in outputs,
            keep_bytes=self._keep_bytes,
        )
        mean = None
        if "mean_logits" in outputs:
            mean = _mean_logits(hidden, weight, bias) * (logit_scale / temperature)
        entropy = entropy if "entropy" in outputs else None
        return log_probs, entropy, None, mean, top[0] if top else None


@torch.no_grad()
def _mean_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Of each row, which is its product with the mean of the weight's rows: none is computed."""
    found = (hidden * weight.mean(dim=0, dtype=torch.float32)).sum(dim=-1)
    return found if bias is None else found + bias.mean(dtype=torch.float32)


def _fits(hidden: Tensor, *others: Tensor | None) -> bool:
    given = [hidden, *(t for t in others if t is not None)]
    alike = len({(t.dtype, t.device) for t in given}) == 1 and hidden.dtype in SUPPORTED
    return alike and len(hidden) > 0 and (hidden.is_cuda or interpreted())
