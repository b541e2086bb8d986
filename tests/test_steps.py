"""`workbench step`: what is trained, what is kept of it; without a GPU nothing is timed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.errors import EvidenceError, UsageError
from workbench.models import steps, steps_table
from workbench.models.steps import LIGER, OURS, PLAIN, Contender, Setting, Steps, Timed

ROOT = Path(__file__).parents[1]
TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 61,
}
SETTING = Setting(type="llama", config=TINY, rows=2, tokens=9)
SEEN = Steps(
    setting=Setting(type="llama", config={"num_hidden_layers": 32}),
    device="A GPU",
    versions={"torch": "2.13.0"},
    workbench={"version": "0.1.0", "commit": "0123456789abcdef-dirty"},
    timed=(
        Timed(trainer=PLAIN, version="5.24.0", seconds=(4.0, 4.5, 3.9), peak=100 * 2**30),
        Timed(trainer=LIGER, problem="Liger is not installed"),
        Timed(trainer=OURS, version="0.1.0", seconds=(3.2, 3.1, 3.3), peak=2**36),
        Timed(trainer=OURS, kept=3 * 2**30, version="0.1.0", seconds=(3.0, 2.0, 4.0), peak=2**36),
    ),
)


def workbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)


def _first(trainer: str, kept: int = 0, count: int = 3) -> list[float]:
    contender = Contender(trainer, kept)
    return list(itertools.islice(steps.losses(SETTING, contender, torch.device("cpu")), count))


def test_contenders_learn_the_same_and_something() -> None:
    plain, ours = _first(PLAIN), _first(OURS)
    assert len({*plain}) == 3
    assert ours == pytest.approx(plain, rel=2e-3)
    assert _first(OURS, kept=2**20) == ours


def test_only_ours_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    patched: list[Any] = []
    monkeypatch.setattr(steps, "_patch", patched.append)
    _first(PLAIN, count=1)
    assert not patched
    _first(OURS, count=1)
    assert len(patched) == 1


def test_liger_is_told_apart_from_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="Liger is not installed"):
        _first(LIGER)


def test_a_contender_is_timed_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_DEVICE", torch.device("cpu"))
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7)
    timed = steps._timed(SETTING, 2, Contender(PLAIN))
    assert not timed.problem and timed.peak == 7 and timed.version
    assert len(timed.seconds) == 2 and len(timed.losses) == 4
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    assert steps._timed(SETTING, 2, Contender(LIGER)).problem == "Liger is not installed"
    wrong = SETTING.model_copy(update={"config": {**TINY, "num_attention_heads": 5}})
    assert "ValueError" in steps._timed(wrong, 2, Contender(PLAIN)).problem


def test_what_a_contender_gains() -> None:
    _, liger, ours, keeping = SEEN.timed
    assert SEEN.of(OURS) == ours and SEEN.of(OURS, 3 * 2**30) == keeping
    assert SEEN.gain(ours) == pytest.approx(4.0 / 3.2)
    assert SEEN.gain(keeping) == pytest.approx(4.0 / 3.0)
    assert SEEN.gain(liger) is None and SEEN.of(LIGER) is None
    without = SEEN.model_copy(update={"timed": SEEN.timed[1:]})
    assert without.gain(ours) is None


def test_who_keeps_attention_is_timed_beside_who_does_not() -> None:
    without = steps.contenders()
    assert [one.trainer for one in without] == [PLAIN, LIGER, OURS]
    assert steps.contenders(5) == (*without, (PLAIN, 5), (OURS, 5))


def test_the_table() -> None:
    lines = steps_table.table([SEEN]).splitlines()
    where = "| llama, 8 x 4096 tokens | A GPU |"
    assert lines[2:6] == [
        f"{where} transformers 5.24.0 | 4.000 s | 8192 | 1.000 | 100.00 GiB |",
        f"{where} liger-kernel | Liger is not installed |  |  |  |",
        f"{where} workbench 0.1.0 | 3.200 s | 10240 | 1.250 | 64.00 GiB |",
        f"{where} workbench 0.1.0, 3 GiB of attention kept | 3.000 s | 10923 | 1.333 | 64.00 GiB |",
    ]
    assert lines[-1] == (
        "llama with num_hidden_layers 32: medians of 3 steps, bfloat16, AdamW, gradient "
        "checkpointing; torch 2.13.0; at 0123456789ab."
    )
    assert steps_table.table([]) == f"{steps_table.EMPTY}\n"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / steps_table.PATH).parent.mkdir(parents=True)
    readme = tmp_path / "README.md"
    readme.write_text(f"a\n{steps_table.BEGIN}\n{steps_table.END}\nb\n")
    assert steps_table.load(tmp_path) == ()
    steps_table.write(tmp_path, SEEN)
    assert steps_table.load(tmp_path) == (SEEN,)
    table = steps_table.table([SEEN])
    assert readme.read_text() == f"a\n{steps_table.BEGIN}\n{table}{steps_table.END}\nb\n"
    again = SEEN.model_copy(update={"timed": SEEN.timed[:1]})
    other = SEEN.model_copy(update={"device": "Another GPU"})
    steps_table.write(tmp_path, other)
    steps_table.write(tmp_path, again)
    assert steps_table.load(tmp_path) == (again, other)
    (tmp_path / steps_table.PATH).write_text("{}")
    with pytest.raises(EvidenceError, match="no training steps"):
        steps_table.load(tmp_path)


def test_what_is_committed_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert steps_table.updated(text, steps_table.load(ROOT), "README.md") == text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_timed() -> None:
    done = workbench("step", "llama")
    assert done.returncode == 2 and "timed on a GPU, and there is none here" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "no language model of type 'nope'"),
        (["llama", "--batch", "8by4096"], "'8by4096' is no size"),
        (["llama", "--config", "nowhere.json"], "nowhere.json can't be read"),
        (["llama", "--config", "qwen.json"], "is no configuration of a 'llama'"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str, tmp_path: Path) -> None:
    config = tmp_path / "qwen.json"
    config.write_text(json.dumps({"model_type": "qwen3"}))
    given = [str(config) if argument == config.name else argument for argument in arguments]
    done = workbench("step", *given)
    assert done.returncode == 2 and said in done.stderr.replace("\n", " ")
