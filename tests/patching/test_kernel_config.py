"""`Kernels`, set as transformers sets kernels: by its `kernels` library if that is installed, else
by what it does with a mapping.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
from models import model, same_step, step
from transformers.utils import is_kernels_available

from workbench_kernels.patching import norms, unpatch
from workbench_kernels.patching.kernel_config import Kernels
from workbench_kernels.patching.verdicts import Verdicts


@pytest.fixture
def norm_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    rms_norm = norms.rms_norm

    def noted(*args: Any, **options: Any) -> Any:
        found.append("rms_norm")
        return rms_norm(*args, **options)

    monkeypatch.setattr(norms, "rms_norm", noted)
    return found


@pytest.fixture
def llama(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A llama whose norms may be another's layers."""
    made: Any = model("llama")
    if not is_kernels_available():
        kind = type(made.model.norm)
        monkeypatch.setattr(kind, "kernel_layer_name", "RMSNorm", raising=False)
        monkeypatch.setattr(type(made), "set_use_kernels", _set_use_kernels)
        monkeypatch.setattr(type(made), "train", _train)
    return made


def _set_use_kernels(made: Any, use: bool, kernels: Any = None) -> None:
    """What transformers and its library do, without the library."""
    if kernels is not None:
        kernels.sanitize_kernel_mapping(made)
        kernels.create_compatible_mapping(made)
        made.kernel_config = kernels
    for module in made.modules():
        name = getattr(type(module), "kernel_layer_name", None)
        if name is not None:
            layer = made.kernel_config.kernel_mapping[name]["cpu"].load()
            module.forward = MethodType(layer.forward, module)
    made._use_kernels = use


def _train(made: Any, mode: bool = True) -> Any:
    changed = made.training != mode
    super(type(made), made).train(mode)
    if made.use_kernels and changed:
        made.set_use_kernels(True)
    return made


def test_layers_stay_patched_whatever_the_mode(llama: Any, norm_calls: list[str]) -> None:
    before = step(llama)
    kernels = Kernels(verdicts=Verdicts())
    llama.set_use_kernels(True, kernels)
    assert kernels.report is not None and len(kernels.report.of("norm")) == 5
    assert not kernels.report.left
    for made in (llama, llama.eval().train(), copy.deepcopy(llama)):
        norm_calls.clear()
        same_step(before, step(made))
        assert len(norm_calls) == 5


def test_until_it_is_unpatched(llama: Any, norm_calls: list[str]) -> None:
    before = step(llama)
    llama.set_use_kernels(True, Kernels(verdicts=Verdicts()))
    unpatch(llama)
    norm_calls.clear()
    for made in (llama, llama.eval().train()):
        same_step(before, step(made))
    assert not norm_calls
    again = Kernels(only={"norm"}, verdicts=Verdicts())
    llama.set_use_kernels(True, again)
    assert again.report is not None and len(again.report.served) == 5


@pytest.mark.skipif(not is_kernels_available(), reason="the kernels library is not installed")
def test_a_model_that_is_loaded(llama: Any, tmp_path: Path, norm_calls: list[str]) -> None:
    from transformers import AutoModelForCausalLM

    llama.save_pretrained(tmp_path)
    kernels = Kernels(verdicts=Verdicts())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, use_kernels=True, kernel_config=kernels)
    norm_calls.clear()
    same_step(step(llama), step(loaded.train()))
    assert len(norm_calls) == 5
