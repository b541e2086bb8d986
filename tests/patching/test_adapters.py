"""Adapters of PEFT on a patched model: merged into it, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from models import model, same_step, step, tokens
from torch import Tensor, nn

from workbench_kernels.patching import patch, unpatch
from workbench_kernels.patching.verdicts import Verdicts

VERDICTS = Verdicts()


def adapted(made: nn.Module, **options: Any) -> Any:
    """With adapters that do something."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    wrapped = get_peft_model(made, LoraConfig(r=2, init_lora_weights=False, **options))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "modules_to_save.default" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return wrapped


def logits(made: nn.Module) -> Tensor:
    made.eval()
    found: Tensor = made(input_ids=tokens()).logits
    made.train()
    return found


@pytest.mark.parametrize("patched", ["before", "after"])
@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "all-linear"},
        {"target_modules": "all-linear", "use_dora": True},
        {"target_modules": ["lm_head", "q_proj"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
    ],
    ids=["lora", "dora", "head", "saved head", "saved norm"],
)
def test_merged_saved_and_loaded(options: dict[str, Any], patched: str, tmp_path: Path) -> None:
    from peft import PeftModel

    plain, made = adapted(model("llama"), **options), model("llama")
    if patched == "before":
        patch(made, verdicts=VERDICTS)
    ours = adapted(made, **options)
    if patched == "after":
        patch(ours, verdicts=VERDICTS)
    same_step(step(plain), step(ours))
    ours.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(model("llama"), tmp_path)  # type: ignore[arg-type]
    torch.testing.assert_close(logits(loaded), logits(plain))
    wanted, merged = plain.merge_and_unload(), ours.merge_and_unload()
    for whole in (wanted, merged):
        whole.requires_grad_(True)
    same_step(step(wanted), step(merged))
    unpatch(made if patched == "before" else ours)
    same_step(step(wanted), step(merged))
    assert "forward" not in vars(merged.model.layers[0].mlp)
