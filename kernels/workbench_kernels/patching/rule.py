"""What a rule of patching is, and what it says of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from workbench_kernels.launch import interpreted

Undo = Callable[[], None]


@dataclass(frozen=True)
class Verdict:
    """Whether a kernel stands in for a module's forward, and how it was seen.

    `options` are what the kernel is called with; `takes` among them names modules within, whose
    work it does too. `mode` says in words how it computes. `ratio` is
    the worst error of outputs and gradients, over what PyTorch's own error and half an ulp come to
    (`bound.py`); `same` the share of results in 16 bits that have the same bits as the module's.
    `reason` says why nothing serves the module; it is empty where something does.
    """

    kernel: str = ""
    mode: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    ratio: float = 0.0
    same: float | None = None
    reason: str = ""

    @property
    def served(self) -> bool:
        """Whether the module is to be replaced."""
        return not self.reason


def where(module: nn.Module) -> torch.device:
    """Where its parameters are; of a module without any, where kernels run."""
    kernels = "cpu" if interpreted() or not torch.cuda.is_available() else "cuda"
    return next((p.device for p in module.parameters()), torch.device(kernels))


class Rule(Protocol):
    """Modules of one kind: which they are, what proves a kernel for one, how it is put in."""

    @property
    def kind(self) -> str:
        """What `patch(model, only=…)` calls them."""

    def candidates(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Every module that may be of this kind, with its path, by what it is made of."""

    def prove(self, module: nn.Module) -> Verdict:
        """Which kernel computes what the module's own forward does, forward and backward.

        Whatever it raises is a reason to leave the module alone.
        """

    def install(self, module: nn.Module, verdict: Verdict) -> Undo:
        """Make the kernel serve this instance; the result restores it exactly."""
