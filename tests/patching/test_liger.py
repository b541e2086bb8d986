"""A trainer's `use_liger_kernel` beside `patch`. In Liger's place is what it does to a llama:
forwards of its own for norms, and one for the model that goes past the head.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import model, same_step, step
from test_trainers import VERDICTS, Rows, arguments, logged, same
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from transformers.modeling_outputs import CausalLMOutput

from workbench_kernels.patching import patch, unpatch


def _norm(self: Any, x: Tensor) -> Tensor:
    self.calls += 1
    return F.rms_norm(x, x.shape[-1:], self.weight, self.variance_epsilon)


def _model(self: Any, input_ids: Tensor, labels: Tensor, **kwargs: Any) -> CausalLMOutput:
    hidden = self.model(input_ids=input_ids).last_hidden_state
    logits = F.linear(hidden, self.lm_head.weight)
    loss = self.loss_function(logits, labels, self.config.vocab_size, **kwargs)
    return CausalLMOutput(loss=loss)


def _apply_to_instance(model: Any, **options: Any) -> None:
    assert not options
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.calls, module.forward = 0, MethodType(_norm, module)
    model.forward = MethodType(_model, model)


@pytest.fixture
def liger(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import liger

    stand_in = ModuleType("liger_kernel.transformers")
    stand_in._apply_liger_kernel_to_instance = _apply_to_instance  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", stand_in)
    monkeypatch.setattr(liger, "is_liger_kernel_available", lambda: True)


def train(made: nn.Module, folder: Path, flag: bool) -> list[float]:
    options = TrainingArguments(**arguments(folder, use_liger_kernel=flag))
    return logged(Trainer(made, options, train_dataset=Rows()))


def test_it_is_put_over_what_is_patched(liger: None, tmp_path: Path) -> None:
    """Its own forwards stay, when the rest is taken out."""
    made: Any = model("llama")
    plain = train(copy.deepcopy(made), tmp_path, False)
    patch(made, verdicts=VERDICTS)
    same(plain, train(made, tmp_path, True))
    assert made.model.norm.calls == 2 * len(plain)
    unpatch(made)
    assert vars(made.model.norm)["forward"].__func__ is _norm
    assert "forward" not in vars(made.model.layers[0].mlp)


def test_what_it_replaced_is_left_alone(liger: None, tmp_path: Path) -> None:
    """The loss too: the head isn't called any more."""
    made: Any = model("llama")
    plain = train(copy.deepcopy(made), tmp_path, False)
    _apply_to_instance(made)
    report = patch(made, verdicts=VERDICTS)
    assert {entry.kind for entry in report.left} == {"norm", "loss"}
    assert {entry.kind for entry in report.served} == {"mlp", "rope"}
    same(plain, train(made, tmp_path, False))
    assert made.model.norm.calls == 2 * len(plain)


def test_a_forward_around_the_models_own_is_none_of_its() -> None:
    """Accelerate's, for one, in 16 bits."""
    from accelerate.utils.operations import convert_outputs_to_fp32

    made: Any = model("llama")
    before = step(made)
    around = torch.autocast("cpu", enabled=False)(made.forward.__func__)
    made.forward = MethodType(convert_outputs_to_fp32(around), made)
    assert len(patch(made, verdicts=VERDICTS).of("loss")[0].verdict.kernel)
    same_step(before, step(made))


def test_without_it_the_flag_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import liger

    monkeypatch.setattr(liger, "is_liger_kernel_available", lambda: False)
    made = model("llama")
    patch(made, verdicts=VERDICTS)
    with pytest.raises(ImportError, match="use_liger_kernel"):
        train(made, tmp_path, True)
