"""TRL's head of log-probabilities, with its own function and with `linear_logprobs`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from models import model, tokens
from torch import Tensor, nn

from workbench_kernels.patching import PatchError, patch, trl


def step(made: nn.Module, names: tuple[str, ...]) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What a head gives, and the gradients of something made of it."""
    labels = tokens()
    labels[0, :3] = -100
    output = made(input_ids=tokens(), labels=labels, fused_lm_head=True)
    given = [getattr(output, name) for name in names]
    sent = [t for t in given if t.requires_grad]
    sum((n + 1) * t.float().square().sum() for n, t in enumerate(sent)).backward()
    named = made.named_parameters()
    return [t.detach() for t in given], {n: p.grad for n, p in named if p.grad is not None}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each call of the op."""
    found: list[str] = []
    of = trl.linear_logprobs

    def noted(*args: Any, **options: Any) -> Any:
        found.append("linear_logprobs")
        return of(*args, **options)

    monkeypatch.setattr(trl, "linear_logprobs", noted)
    return found


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("llama", ("log_probs",)),
        ("llama", ("log_probs", "entropy", "mean_logits")),
        ("llama", ("log_probs", "entropy", "is_top1")),
        ("gemma2", ("log_probs",)),
        ("gemma2", ("log_probs", "entropy", "is_top1")),
        ("phi", ("log_probs", "entropy")),
        ("phi", ("log_probs", "mean_logits")),
    ],
)
def test_what_trl_computes(kind: str, names: tuple[str, ...], calls: list[str]) -> None:
    """Scaled by a temperature, capped (gemma2), with a bias (phi)."""
    from trl.trainer.utils import add_fused_lm_head

    made = model(kind)
    theirs, ours = made, copy.deepcopy(made)
    for one in (theirs, ours):
        add_fused_lm_head(one, temperature=0.7, outputs=names)  # type: ignore[arg-type]
    undo = trl.fuse_logprobs(ours, keep_bytes=100)
    wanted, found = step(theirs, names), step(ours, names)
    assert calls == ["linear_logprobs"]
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-5)
    assert found[1].keys() == wanted[1].keys()
    for name, grad in wanted[1].items():
        within = 1e-5 * float(grad.abs().max())
        torch.testing.assert_close(found[1][name], grad, rtol=0.0, atol=within, msg=name)
    undo()
    step(ours, names)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [("llama", "log_sum_sq_probs"), ("gemma2", "mean_logits")],
)
def test_what_is_not_served_is_trls_own(kind: str, name: str, calls: list[str]) -> None:
    """What takes the logits: a capped mean does, too."""
    from trl.trainer.utils import add_fused_lm_head

    made = model(kind)
    add_fused_lm_head(made, outputs=("log_probs", name))  # type: ignore[arg-type]
    trl.fuse_logprobs(made)
    labels = tokens()
    output = made(input_ids=tokens(), labels=labels, fused_lm_head=True)
    assert getattr(output, name) is not None and not calls
    assert made(input_ids=tokens(), labels=labels).logits is not None  # without the head


def test_the_trainer_comes_first() -> None:
    with pytest.raises(PatchError, match="make the trainer first"):
        trl.fuse_logprobs(model("llama"))


def test_grpo(tmp_path: Path, calls: list[str]) -> None:
    """The policy's own samples, rewards and losses are the same, by line and by callback."""
    from datasets import Dataset
    from test_trainers import VERDICTS, arguments, tokenizer
    from trl import GRPOConfig, GRPOTrainer

    from workbench_kernels.patching.trainer import Patching

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(len(set(words.split()))) for words in completions]

    def train(by: str = "") -> list[Any]:
        made = model("llama")
        if by == "line":
            patch(made, verdicts=VERDICTS)
        options = arguments(tmp_path, max_steps=2, bf16=False, gradient_checkpointing=False)
        options.update(per_device_train_batch_size=4, gradient_accumulation_steps=1)
        config = GRPOConfig(**options, num_generations=4, max_completion_length=6)
        prompts = Dataset.from_list([{"prompt": f"w{n} w{n + 1}"} for n in range(3, 9)])
        words = tokenizer(tmp_path)
        trainer = GRPOTrainer(made, reward, config, train_dataset=prompts, processing_class=words)
        if by == "callback":
            trainer.add_callback(Patching(verdicts=VERDICTS))
        if by == "line":
            trl.fuse_logprobs(trainer.model)
        torch.manual_seed(0)
        trainer.train()
        logs = [entry for entry in trainer.state.log_history if "reward" in entry]
        return [(entry["loss"], entry["reward"], entry["entropy"]) for entry in logs]

    plain = train()
    assert not calls and len(plain) == 2
    for by in ("line", "callback"):
        for one, other in zip(plain, train(by), strict=True):
            assert other == pytest.approx(one, rel=1e-3, abs=1e-6)
        assert calls
        calls.clear()


@pytest.mark.parametrize("name", ["KTO", "DPO"])
def test_preferences(name: str, tmp_path: Path, calls: list[str]) -> None:
    """Their log-probabilities are ours, and DPO's most likely tokens."""
    import trl as theirs
    from datasets import Dataset
    from test_trainers import VERDICTS, arguments, logged, tokenizer

    from workbench_kernels.patching.trainer import Patching

    def row(n: int) -> dict[str, Any]:
        good, bad = f" w{n + 2} w{n + 3} w{n + 1}", f" w{n + 9} w{n + 4}"
        told = {"chosen": good, "rejected": bad}
        if name == "KTO":
            told = {"completion": good if n % 2 else bad, "label": bool(n % 2)}
        return {"prompt": f"w{n} w{n + 1}", **told}

    def train(*callbacks: Patching) -> list[float]:
        options = arguments(tmp_path, bf16=False, gradient_checkpointing=False)
        options.update(per_device_train_batch_size=2, gradient_accumulation_steps=1)
        trainer = getattr(theirs, f"{name}Trainer")(
            model("llama"),
            ref_model=model("llama"),
            args=getattr(theirs, f"{name}Config")(**options),
            train_dataset=Dataset.from_list([row(n) for n in range(3, 9)]),
            processing_class=tokenizer(tmp_path),
            callbacks=list(callbacks),
        )
        return logged(trainer)

    plain = train()
    ours = Patching(verdicts=VERDICTS)
    assert train(ours) == pytest.approx(plain, rel=1e-4) and len(set(plain)) > 1
    assert ours.report is not None and not ours.report.left
    assert calls


def test_sft(tmp_path: Path, calls: list[str]) -> None:
    """The losses, and what the trainer tells of the tokens, are the same."""
    from datasets import Dataset
    from test_trainers import VERDICTS, arguments, tokenizer
    from trl import SFTConfig, SFTTrainer

    from workbench_kernels.patching.trainer import Patching

    def train(*callbacks: Patching) -> list[list[float]]:
        config = SFTConfig(**arguments(tmp_path, bf16=False, gradient_checkpointing=False))
        rows = [{"text": " ".join(f"w{n + k}" for k in range(9))} for n in range(3, 9)]
        trainer = SFTTrainer(
            model("llama"),
            config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer(tmp_path),
            callbacks=list(callbacks),
        )
        trainer.train()
        said = ("loss", "entropy", "mean_token_accuracy", "grad_norm")
        logs = [entry for entry in trainer.state.log_history if "mean_token_accuracy" in entry]
        return [[entry[name] for name in said] for entry in logs]

    plain = train()
    assert plain and not calls
    for one, other in zip(plain, train(Patching(verdicts=VERDICTS)), strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)
    assert calls
