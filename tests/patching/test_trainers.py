"""The line a user writes, with the libraries they train with: the losses are those without it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from models import model, tokens
from torch import Tensor, nn

from workbench_kernels.patching import patch
from workbench_kernels.patching.verdicts import Verdicts

STEPS = 3
VERDICTS = Verdicts()


class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """A few rows of tokens, the first of each ignored."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        row = torch.randint(3, 61, (8,), generator=generator)
        labels = row.clone()
        labels[:2] = -100
        return {"input_ids": row, "labels": labels}


def both(train: Callable[[nn.Module], list[float]], made: nn.Module) -> tuple[list[float], ...]:
    """The losses without and with the line."""
    plain = train(copy.deepcopy(made))
    patch(made, verdicts=VERDICTS)
    return plain, train(made)


def same(plain: list[float], ours: list[float]) -> None:
    """In float32, over a few steps: sums in another order, and what AdamW makes of that."""
    assert len(plain) == len(ours) == STEPS
    assert ours == pytest.approx(plain, rel=1e-4)


def logged(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def arguments(folder: Path, **options: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "logging_first_step": True,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        **options,
    }


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trainer(tmp_path: Path, checkpointing: bool) -> None:
    """With gradients of several batches added up, so with num_items_in_batch."""
    from transformers import Trainer, TrainingArguments

    def train(made: nn.Module) -> list[float]:
        options = arguments(tmp_path, gradient_checkpointing=checkpointing)
        return logged(Trainer(made, TrainingArguments(**options), train_dataset=Rows()))

    same(*both(train, model("llama")))


def test_a_training_that_is_resumed(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    def trainer() -> Any:
        made = model("llama")
        patch(made, verdicts=VERDICTS)
        options = arguments(tmp_path, save_strategy="steps", save_steps=STEPS - 1)
        return Trainer(made, TrainingArguments(**options), train_dataset=Rows())

    whole, resumed = logged(trainer()), trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{STEPS - 1}"))
    assert [e["loss"] for e in resumed.state.log_history if "loss" in e] == whole


def test_a_trainer_that_compiles(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    def train(made: nn.Module, **options: Any) -> list[float]:
        options = arguments(tmp_path, torch_compile_backend="eager", **options)
        return logged(Trainer(made, TrainingArguments(**options), train_dataset=Rows()))

    made = model("llama", num_hidden_layers=1)
    plain = train(copy.deepcopy(made), torch_compile=False)
    patch(made, verdicts=VERDICTS)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    same(plain, train(made, torch_compile=True))
    assert torch._dynamo.utils.counters["frames"]["ok"]


def test_accelerate() -> None:
    from accelerate import Accelerator

    def train(made: nn.Module) -> list[float]:
        accelerator = Accelerator(cpu=not torch.cuda.is_available())
        optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
        ready, optimizer = accelerator.prepare(made, optimizer)
        losses = []
        for _ in range(STEPS):
            loss = ready(input_ids=tokens(), labels=tokens()).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        return losses

    same(*both(train, model("llama")))


@pytest.mark.parametrize("modules", [["q_proj", "v_proj"], ["lm_head"], "all-linear"], ids=str)
def test_peft(modules: Any) -> None:
    """Adapters learn the same, on the head too: patched before they are there, or after."""
    from peft import LoraConfig, get_peft_model

    def adapted(made: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        lora = LoraConfig(r=2, target_modules=modules, init_lora_weights="gaussian")
        return get_peft_model(made, lora)  # type: ignore[arg-type]

    def train(made: nn.Module) -> list[float]:
        learnt = [p for p in made.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learnt, lr=1e-1)
        losses = []
        for _ in range(STEPS):
            loss = made(input_ids=tokens(), labels=tokens()).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        assert losses[-1] != losses[0]
        return losses

    made = model("llama")
    plain = train(adapted(copy.deepcopy(made)))
    before, after = copy.deepcopy(made), adapted(copy.deepcopy(made))
    patch(before, verdicts=VERDICTS)
    same(plain, train(adapted(before)))
    patch(after, verdicts=VERDICTS)
    same(plain, train(after))


@pytest.fixture
def texts() -> Iterator[Any]:
    """Rows of tokens, as TRL takes them."""
    from datasets import Dataset

    rows = [Rows()[index] for index in range(4)]
    yield Dataset.from_list([{"input_ids": row["input_ids"].tolist()} for row in rows])


def tokenizer(folder: Path) -> Any:
    """Of sixty-one words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {f"w{index}": index for index in range(61)}
    made = Tokenizer(WordLevel(words, unk_token="w2"))
    made.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="w0", eos_token="w2", unk_token="w2"
    )


def test_trl_sft(tmp_path: Path, texts: Any) -> None:
    from trl import SFTConfig, SFTTrainer

    def train(made: nn.Module) -> list[float]:
        config = SFTConfig(**arguments(tmp_path, bf16=False, gradient_checkpointing=False))
        words = tokenizer(tmp_path)
        return logged(SFTTrainer(made, config, train_dataset=texts, processing_class=words))

    same(*both(train, model("llama")))
