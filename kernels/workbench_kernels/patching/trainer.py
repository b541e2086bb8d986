"""`patch` as a callback of transformers' trainer and of TRL's: where a trainer makes the model or
changes it, no line before it could patch it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from weakref import ref

from torch import nn
from transformers import TrainerCallback

from workbench_kernels.patching.apply import patch
from workbench_kernels.patching.report import Report
from workbench_kernels.patching.trl import fuse_logprobs, has_head
from workbench_kernels.patching.verdicts import Verdicts


class Patching(TrainerCallback):  # type: ignore[misc]
    """For `SFTTrainer("Qwen/Qwen3-0.6B", callbacks=[Patching()], …)`: the model is patched, with
    these options of `patch`, once the trainer has made it; and where TRL gave it a head,
    `linear_logprobs` serves that. `report` tells what became of it.

    Raises:
        PatchError: as `patch`, from the trainer.
    """

    def __init__(
        self,
        *,
        only: Collection[str] | None = None,
        strict: bool = False,
        verdicts: Verdicts | None = None,
    ) -> None:
        self.report: Report | None = None
        self._options: dict[str, Any] = {"only": only, "strict": strict, "verdicts": verdicts}
        self._patched: ref[nn.Module] | None = None

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the model is compiled or spread over processes."""
        self._patch(kwargs["model"])

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """By now a trainer with `model_init` has another model, and TRL's have given it a head."""
        model = kwargs["model"]
        if self._patched is None or all(m is not self._patched() for m in model.modules()):
            self._patch(model)
        if has_head(model):
            fuse_logprobs(model)

    def _patch(self, model: nn.Module) -> None:
        self.report = patch(model, **self._options)
        self._patched = ref(model)
