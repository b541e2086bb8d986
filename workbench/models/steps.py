"""Training steps of a whole model, timed on a GPU: as transformers has it, with Liger, and patched.

Each contender is built of the same configuration and seed in a process of its own, one after the
other on the same GPU, and trained on the same tokens: bfloat16, AdamW (fused), gradient
checkpointing. A step is forward, loss, backward and optimiser, from an idle GPU to an idle GPU; the
peak is what PyTorch allocated from the second step on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from workbench.errors import UsageError
from workbench.evidence.machine import this_workbench
from workbench.models.processes import each, said

PLAIN, LIGER, OURS = CONTENDERS = ("transformers", "liger-kernel", "workbench")
SECONDS = 900.0  # for one contender
_WARM_UP, _RATE = 2, 1e-5
_DEVICE = torch.device("cuda")


class Setting(BaseModel):
    """What is trained: a type of transformers', what its configuration has that is not the type's
    default, rows of so many tokens. `kept` bytes of attention's results are kept by checkpoints.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    config: Mapping[str, Any] = Field(default_factory=dict)
    rows: int = 8
    tokens: int = 4096
    kept: int = 0


class Timed(BaseModel):
    """One contender: the seconds of each step, the peak in bytes, the losses; or the problem."""

    model_config = ConfigDict(frozen=True)

    contender: str
    version: str = ""
    seconds: tuple[float, ...] = ()
    peak: int = 0
    losses: tuple[float, ...] = ()
    problem: str = ""

    @property
    def median(self) -> float:
        """Seconds of a step."""
        return statistics.median(self.seconds)


class Steps(BaseModel):
    """All contenders, on one GPU, by this workbench."""

    model_config = ConfigDict(frozen=True)

    setting: Setting
    device: str
    versions: Mapping[str, str]
    workbench: Mapping[str, str]
    timed: tuple[Timed, ...]

    def of(self, contender: str) -> Timed | None:
        """One that was timed; None if it has a problem."""
        found = (timed for timed in self.timed if timed.contender == contender)
        return next((timed for timed in found if timed.seconds), None)

    def gain(self, contender: str) -> float | None:
        """How many times transformers' throughput it has; None where one of them has none."""
        plain, timed = self.of(PLAIN), self.of(contender)
        return None if plain is None or timed is None else plain.median / timed.median


def measure(setting: Setting, steps: int, told: Callable[[str], None]) -> Steps:
    """Time `steps` steps of each contender; `told` hears of each as it is done.

    Raises:
        UsageError: there is no GPU here.
    """
    if not torch.cuda.is_available():
        hint = "run it on a machine with one; workbench models TYPE compares without"
        raise UsageError("steps are timed on a GPU, and there is none here", hint)
    timed = []
    work = partial(_timed, setting, steps)
    for contender, found in each(CONTENDERS, work, at_once=1, seconds=SECONDS):
        if isinstance(found, str):
            found = Timed(contender=contender, problem=found)
        timed.append(found)
        told(contender)
    return Steps(
        setting=setting,
        device=torch.cuda.get_device_name(),
        versions={name: version(name) for name in ("transformers", "torch", "triton")},
        workbench=this_workbench(),
        timed=tuple(timed),
    )


def _timed(setting: Setting, steps: int, contender: str) -> Timed:
    """One contender, in this process, which it may change as it likes."""
    try:
        training = losses(setting, contender, _DEVICE)
        seen = [next(training)]
        torch.cuda.reset_peak_memory_stats()
        seen += [next(training) for _ in range(_WARM_UP - 1)]
        seconds = []
        for _ in range(steps):
            torch.cuda.synchronize()
            begun = perf_counter()
            seen.append(next(training))  # which waits for the GPU
            torch.cuda.synchronize()
            seconds.append(perf_counter() - begun)
    except UsageError as error:
        return Timed(contender=contender, problem=str(error))
    except Exception as error:
        return Timed(contender=contender, problem=said(error))
    return Timed(
        contender=contender,
        version=_version(contender),
        seconds=tuple(seconds),
        peak=torch.cuda.max_memory_allocated(),
        losses=tuple(seen),
    )


def losses(setting: Setting, contender: str, device: torch.device) -> Iterator[float]:
    """Train, a step each time the next loss is asked for.

    Raises:
        UsageError: the contender doesn't know the type, or is not installed.
    """
    model = _model(setting, contender, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, fused=True)
    chance = torch.Generator().manual_seed(0)
    shape = (setting.rows, setting.tokens)
    tokens = torch.randint(model.config.vocab_size, shape, generator=chance).to(device)
    while True:
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield float(loss.detach())


def _model(setting: Setting, contender: str, device: torch.device) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    if contender == LIGER:
        _apply_liger(setting.type)
    torch.manual_seed(0)
    config = AutoConfig.for_model(setting.type, **setting.config)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    finally:
        torch.set_default_dtype(before)
    model.config.use_cache = False
    model.train().activation_checkpointing_enable(_checkpoints(setting))
    if contender == OURS:
        _patch(model)
    return model


def _checkpoints(setting: Setting) -> dict[str, Any]:
    from workbench_kernels.patching.checkpoints import keep_attention

    return keep_attention(setting.kept) if setting.kept else {"use_reentrant": False}


def _patch(model: nn.Module) -> None:
    from workbench_kernels.patching import patch

    patch(model)


def _apply_liger(kind: str) -> None:
    if find_spec("liger_kernel") is None:
        raise UsageError("Liger is not installed", "pip install liger-kernel")
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as KNOWN

    if kind not in KNOWN:
        raise UsageError(f"Liger has nothing for models of type {kind!r}")
    KNOWN[kind]()


def _version(contender: str) -> str:
    if contender == OURS:
        return this_workbench()["version"]
    try:
        return version(contender.replace("-", "_"))
    except PackageNotFoundError:
        return ""
