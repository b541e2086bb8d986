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
    these options of `patch`, when its training begins; and where TRL gave it a head,
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

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """By now the model is adapted, on its device or spread over several, and has TRL's head;
        one of `model_init` is another for each training.
        """
        model = kwargs["model"]
        if self._patched is None or all(m is not self._patched() for m in model.modules()):
            self.report = patch(model, **self._options)
            self._patched = ref(model)
        if has_head(model):
            fuse_logprobs(model)
