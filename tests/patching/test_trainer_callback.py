"""`Patching`, a trainer's callback: for models that the trainer makes, adapts, or makes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from models import model
from test_trainers import VERDICTS, Rows, arguments, logged, same, texts, tokenizer
from torch import nn

from workbench_kernels.patching import PatchError
from workbench_kernels.patching.trainer import Patching

__all__ = ["texts"]


def callback() -> Patching:
    return Patching(verdicts=VERDICTS)


def test_a_model_that_the_trainer_loads_and_adapts(tmp_path: Path, texts: Any) -> None:
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    saved: Any = model("llama")
    saved.save_pretrained(tmp_path / "model")

    def train(*callbacks: Patching) -> list[float]:
        options = arguments(tmp_path, bf16=False, gradient_checkpointing=False)
        lora = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm"])
        trainer = SFTTrainer(
            str(tmp_path / "model"),
            SFTConfig(**options, model_init_kwargs={"dtype": "float32"}),
            train_dataset=texts,
            processing_class=tokenizer(tmp_path),
            callbacks=list(callbacks),
            peft_config=lora,
        )
        return logged(trainer)

    ours = callback()
    same(train(), train(ours))
    assert ours.report is not None and {e.kind for e in ours.report.served} >= {"norm", "mlp"}
    assert not ours.report.left


def test_a_model_made_anew_for_each_training(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    made: list[nn.Module] = []

    def init() -> nn.Module:
        made.append(model("llama"))
        return made[-1]

    ours = callback()
    options = TrainingArguments(**arguments(tmp_path))
    trainer = Trainer(args=options, train_dataset=Rows(), model_init=init, callbacks=[ours])
    logged(trainer)
    trainer.train()
    assert len(made) == 3
    for one in made[1:]:
        assert "forward" in vars(one.model.norm)  # type: ignore[union-attr, arg-type]


def test_what_can_not_be_patched_is_said_by_the_trainer(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    wrong = Patching(only={"norms"}, verdicts=VERDICTS)
    options = TrainingArguments(**arguments(tmp_path))
    with pytest.raises(PatchError, match="there is no 'norms'"):
        Trainer(model("llama"), options, train_dataset=Rows(), callbacks=[wrong]).train()
