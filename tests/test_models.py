"""`workbench models`: what is said of each type, what is kept of it; a difference shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from workbench.errors import EvidenceError, UsageError
from workbench.models import Coverage, Row, census, coverage, processes, tiny, training

ROOT = Path(__file__).parents[1]
LOSS = {"linear_cross_entropy": 1}
ROWS = (
    Row(type="all", ran=LOSS, served={"norm": 3, "mlp": 2}),
    Row(type="head", ran=LOSS, served={"loss": 1}, left={"norm": 1}, reasons=("Odd: no norm",)),
    Row(type="inside", ran={"rms_norm": 2}, served={"norm": 2}),
    Row(type="nothing", left={"norm": 1}),
    Row(type="off", served={"norm": 1}, difference="the loss is 2, not 1"),
    Row(type="unbuilt", why="ValueError: no"),
)
SEEN = Coverage(versions={"transformers": "5.24.0"}, device="interpreter", rows=ROWS)


def workbench(*arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=os.environ)


def test_how_a_type_stands() -> None:
    assert [row.standing for row in ROWS] == list(coverage.MEANINGS)


def test_the_table_counts_every_type_once() -> None:
    lines = coverage.table(SEEN).splitlines()
    assert lines[2] == "| the loss, and every module that was found | 1 | `all` |"
    assert all(sum(f"`{row.type}`" in line for line in lines) == 1 for row in ROWS)
    assert lines[-1] == "Of 6 types, seen in the interpreter with transformers 5.24.0."


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder = (tmp_path / coverage.PATH).parent
    folder.mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"a\n{coverage.BEGIN}\nold\n{coverage.END}\nb\n")
    coverage.write(tmp_path, SEEN)
    assert coverage.load(tmp_path) == SEEN
    text = (tmp_path / "README.md").read_text()
    assert text == f"a\n{coverage.BEGIN}\n{coverage.table(SEEN)}{coverage.END}\nb\n"
    (tmp_path / coverage.PATH).write_text("{}")
    with pytest.raises(EvidenceError, match="is no coverage"):
        coverage.load(tmp_path)
    with pytest.raises(UsageError, match="no single place"):
        coverage.updated("", SEEN, "README.md")


def test_what_is_committed_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert coverage.updated(text, coverage.load(ROOT), "README.md") == text


def step(loss: float = 1.0, **gradients: float) -> Any:
    return torch.tensor(loss), {name: torch.tensor([value]) for name, value in gradients.items()}


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (step(a=1.0, b=3.0), ""),
        (step(1.0 + 1e-6, a=1.0 + 1e-5, b=3.0), ""),
        (step(1.001, a=1.0, b=3.0), "the loss is 1.001, not 1"),
        (step(float("nan"), a=1.0, b=3.0), "the loss is nan"),
        (step(a=1.0), "only one has a gradient of b"),
        (step(a=1.001, b=3.0), "the gradient of a is off by"),
        (step(a=float("nan"), b=3.0), "the gradient of a is off by nan"),
    ],
)
def test_a_difference_is_said(ours: Any, said: str) -> None:
    assert census.difference(step(a=1.0, b=3.0), ours).startswith(said)
    assert bool(census.difference(step(a=1.0, b=3.0), ours)) == bool(said)


def test_a_kernel_that_is_wrong_in_a_model_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its loss or its gradients, however it came to be trusted."""
    from workbench_kernels.patching import norms

    assert census.measure("llama").difference == ""
    of = norms.rms_norm
    monkeypatch.setattr(norms, "rms_norm", lambda *a, **o: of(*a, **{**o, "eps": 2 * o["eps"]}))
    monkeypatch.setattr(norms.Norms, "prove", lambda self, module: of_llama())
    assert "the loss is" in census.measure("llama").difference


def of_llama() -> Any:
    from workbench_kernels.patching.rule import Verdict

    return Verdict("rms_norm", options={"eps": 1e-6, "rounding": "before_weight"})


PLANTED: dict[str, Any] = {
    "another epsilon": lambda of: lambda *a, **o: of(*a, **{**o, "eps": 1e-4}),
    "a little larger": lambda of: lambda *a, **o: 1.002 * of(*a, **o),
    "weights that learn nothing": lambda of: lambda x, n, w, **o: of(x, n, w.detach(), **o),
}


@pytest.fixture(scope="module")
def known() -> Any:
    from workbench_kernels.patching.verdicts import Verdicts

    return Verdicts()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("planted", ["", *PLANTED])
def test_a_training_tells_a_wrong_kernel(
    planted: str, dtype: torch.dtype, known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 the slightest, in bfloat16 what is more than its rounding."""
    from workbench_kernels.patching import norms, patch

    def serve(model: torch.nn.Module) -> None:
        report = patch(model, only={"norm"}, verdicts=known)
        assert len(report.served) == 5
        if planted:
            monkeypatch.setattr(norms, "rms_norm", PLANTED[planted](norms.rms_norm))

    found = training.compare("llama", dtype, serve, torch.device("cpu"), steps=4)
    assert found.last < found.first and found.ours.update > 0.0
    hidden = planted == "a little larger" and dtype is torch.bfloat16
    assert found.same is (not planted or hidden)


def test_small_configs_are_of_every_part() -> None:
    """A model of text within one of images, too."""
    from transformers import Gemma3Config, LlamaConfig

    small = {"hidden_size": 32, "vocab_size": 96, "num_hidden_layers": 2}
    config = tiny._shrunk(LlamaConfig, small)
    assert (config.hidden_size, config.vocab_size, config.pad_token_id) == (32, 96, 0)
    assert tiny._shrunk(Gemma3Config, small).text_config.hidden_size == 32


def test_a_process_that_dies_is_a_row() -> None:
    dead = SimpleNamespace(exitcode=-9, join=lambda: None, kill=lambda: None)

    class End:
        def poll(self) -> bool:
            return True

        def recv(self) -> Row:
            raise EOFError

        def close(self) -> None:
            pass

    assert processes._answer(End(), dead, 1.0) == "its process ended with -9"  # type: ignore[arg-type]


def test_types_are_tried_now() -> None:
    done = workbench("models", "llama", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = Coverage.model_validate_json(done.stdout).rows
    assert row.standing == "whole"
    assert (row.ran["rms_norm"], row.ran["fused_add_rms_norm"]) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "no language model of type 'nope'"),
        (["llama", "--write"], "only what was seen of all types is kept"),
        (["--train"], "no type is named"),
    ],
)
def test_what_can_not_be_tried(arguments: list[str], said: str) -> None:
    done = workbench("models", *arguments)
    assert done.returncode == 2 and said in done.stderr
