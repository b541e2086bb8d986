"""Training steps of a whole model, timed on a GPU: as transformers has it, with Liger, and patched.

Each contender is built of the same configuration and seed in a process of its own, one after the
other on the same GPU, and trained on the same tokens: bfloat16, AdamW (fused), gradient
checkpointing; transformers and the patched model once more with checkpoints that keep attention's
results, if one asks for it. A step is forward, loss, backward and optimiser, from an idle GPU to an
idle GPU; the peak is what PyTorch allocated from the second step on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from time import perf_counter
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from workbench.errors import UsageError
from workbench.evidence.machine import this_workbench
from workbench.models.processes import each, said

PLAIN, LIGER, OURS = "transformers", "liger-kernel", "workbench"
SECONDS = 900.0  # for one contender
_WARM_UP, _RATE = 2, 1e-5
_DEVICE = torch.device("cuda")


class Contender(NamedTuple):
    """Who trains, with checkpoints that keep so many bytes of attention's results."""

    trainer: str
    kept: int = 0


class Setting(BaseModel):
    """What is trained: a type of transformers', what its configuration has that is not the type's
    default, rows of so many tokens.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    config: Mapping[str, Any] = Field(default_factory=dict)
    rows: int = 8
    tokens: int = 4096


class Timed(BaseModel):
    """One contender: the seconds of each step, the peak in bytes, the losses; or the problem."""

    model_config = ConfigDict(frozen=True)

    trainer: str
    kept: int = 0
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

    def of(self, trainer: str, kept: int = 0) -> Timed | None:
        """One that was timed; None if it has a problem."""
        found = (timed for timed in self.timed if (timed.trainer, timed.kept) == (trainer, kept))
        return next((timed for timed in found if timed.seconds), None)

    def gain(self, timed: Timed) -> float | None:
        """How many times transformers' throughput it has, which keeps nothing; None where one of
        them has none.
        """
        plain = self.of(PLAIN)
        return None if plain is None or not timed.seconds else plain.median / timed.median


def contenders(kept: int = 0) -> tuple[Contender, ...]:
    """Who is timed; with bytes to keep, also who keeps them."""
    keeping = (Contender(PLAIN, kept), Contender(OURS, kept)) if kept else ()
    return (Contender(PLAIN), Contender(LIGER), Contender(OURS), *keeping)


def measure(setting: Setting, steps: int, kept: int, told: Callable[[Timed], None]) -> Steps:
    """Time `steps` steps of each of `contenders(kept)`; `told` hears of each as it is done.

    Raises:
        UsageError: there is no GPU here.
    """
    if not torch.cuda.is_available():
        hint = "run it on a machine with one; workbench models TYPE compares without"
        raise UsageError("steps are timed on a GPU, and there is none here", hint)
    timed = []
    work = partial(_timed, setting, steps)
    for contender, found in each(contenders(kept), work, at_once=1, seconds=SECONDS):
        if isinstance(found, str):
            found = _not_timed(contender, found)
        timed.append(found)
        told(found)
    return Steps(
        setting=setting,
        device=torch.cuda.get_device_name(),
        versions={name: version(name) for name in ("transformers", "torch", "triton")},
        workbench=this_workbench(),
        timed=tuple(timed),
    )


def _timed(setting: Setting, steps: int, contender: Contender) -> Timed:
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
        return _not_timed(contender, str(error))
    except Exception as error:
        return _not_timed(contender, said(error))
    return Timed(
        **contender._asdict(),
        version=_version(contender.trainer),
        seconds=tuple(seconds),
        peak=torch.cuda.max_memory_allocated(),
        losses=tuple(seen),
    )


def _not_timed(contender: Contender, problem: str) -> Timed:
    return Timed(**contender._asdict(), problem=problem)


def losses(setting: Setting, contender: Contender, device: torch.device) -> Iterator[float]:
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


def _model(setting: Setting, contender: Contender, device: torch.device) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    if contender.trainer == LIGER:
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
    model.train().activation_checkpointing_enable(_checkpoints(contender.kept))
    if contender.trainer == OURS:
        _patch(model)
    return model


def _checkpoints(kept: int) -> dict[str, Any]:
    from workbench_kernels.patching.checkpoints import keep_attention

    return keep_attention(kept) if kept else {"use_reentrant": False}


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


def _version(trainer: str) -> str:
    if trainer == OURS:
        return this_workbench()["version"]
    try:
        return version(trainer.replace("-", "_"))
    except PackageNotFoundError:
        return ""
