"""A tiny model trained as it is and patched, on real text: what it learns must be the same.

The truth is the same training in float64. What a training with the library may be off from it is
what PyTorch's own is, in the same dtype, times a factor: in every loss, in every parameter's update
and in the log-probabilities of the likeliest tokens. Parameters are kept in float64 beside those
in 16 bits, where small updates would be lost; they are learnt by SGD, whose updates are the sum of
the gradients: AdamW makes as much of a gradient that is all rounding as of any other.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

import workbench_kernels
from workbench.models import tiny
from workbench_kernels.truth import StayInFloat64

STEPS = 30
_ROWS, _RATE, _LIKELIEST = 2, 0.05, 5
# How much farther from the truth than PyTorch: both are luck, and add up over the steps.
_FACTOR = 3.0
# What no training in a dtype can know better, as a share of what it is about.
_LEAST = {torch.float32: 2e-6, torch.bfloat16: 4e-3}
Serve = Callable[[nn.Module], object]


class Deviation(BaseModel):
    """How far from the truth the losses, the updates and the log-probabilities are, the worst of
    each as a share; and the parameter whose update that is.
    """

    model_config = ConfigDict(frozen=True)

    loss: float
    update: float
    log_probability: float
    parameter: str


class Training(BaseModel):
    """One dtype: PyTorch's deviation and the library's, and by how much the library's is too much
    at the worst place (over 1: it is).
    """

    model_config = ConfigDict(frozen=True)

    dtype: str
    steps: int
    first: float
    last: float
    theirs: Deviation
    ours: Deviation
    excess: float

    @property
    def same(self) -> bool:
        """Whether the library learns what PyTorch does."""
        return self.excess <= 1.0

    def row(self) -> dict[str, str]:
        """It in a table: how far from the truth the library is, and PyTorch."""
        theirs, ours = self.theirs, self.ours
        return {
            "dtype": self.dtype,
            "loss": f"{self.first:.3f} to {self.last:.3f}",
            "losses off": f"{ours.loss:.1e} ({theirs.loss:.1e})",
            "updates off": f"{ours.update:.1e} ({theirs.update:.1e})",
            "log-probabilities off": f"{ours.log_probability:.1e} ({theirs.log_probability:.1e})",
            "of what is allowed": f"{self.excess:.2f}",
        }


def compare(
    kind: str, dtype: torch.dtype, serve: Serve, device: torch.device, steps: int = STEPS
) -> Training:
    """Train a model of the type three times: in float64, in this dtype, and in it with `serve`."""
    made = start(kind, dtype, device)
    exact, theirs = unserved(made, dtype, steps)
    return judged(exact, theirs, served(made, dtype, serve, steps), dtype)


def start(
    kind: str,
    dtype: torch.dtype,
    device: torch.device,
    config: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """A tiny model of the type that can be trained, its parameters such as the dtype has, in
    float64.
    """
    runs = next(_batches(torch.device("cpu")))
    model, _ = tiny.first(kind, lambda model: model(**runs), config)
    return model.to(device, dtype).double()


def unserved(model: nn.Module, dtype: torch.dtype, steps: int = STEPS) -> tuple[Trained, Trained]:
    """What it learns without the library: in float64, which is the truth, and in this dtype."""
    exact: Any = copy.deepcopy(model)
    if hasattr(exact, "set_experts_implementation"):
        exact.set_experts_implementation("eager")  # grouped products know no float64
    with StayInFloat64():  # type: ignore[no-untyped-call]
        truth = _trained(exact, steps)
    return truth, _trained(copy.deepcopy(model).to(dtype), steps)


def served(model: nn.Module, dtype: torch.dtype, serve: Serve, steps: int = STEPS) -> Trained:
    """What it learns in this dtype after `serve`."""
    ours = copy.deepcopy(model).to(dtype)
    serve(ours)
    return _trained(ours, steps)


def judged(truth: Trained, theirs: Trained, ours: Trained, dtype: torch.dtype) -> Training:
    """How far from the truth PyTorch's training and the library's are.

    Raises:
        ValueError: they did not train the same parameters.
    """
    if others := {*truth.updates} ^ {*ours.updates}:
        raise ValueError(f"only one has a parameter {min(others)}")
    shapes = {name: t.shape for name, t in truth.updates.items()}
    if {name: t.shape for name, t in ours.updates.items()} != shapes:
        raise ValueError("its parameters have other shapes")
    if ours.likeliest.shape != truth.likeliest.shape:
        raise ValueError(f"its log-probabilities have the shape {tuple(ours.likeliest.shape)}")
    if len(ours.losses) != len(truth.losses):
        raise ValueError(f"it has {len(ours.losses)} losses, not {len(truth.losses)}")
    apart = [_apart(found, truth) for found in (theirs, ours)]
    excess = max(
        # What is no number is too much.
        off / (_FACTOR * (apart[0][name] + _LEAST[dtype])) if math.isfinite(off) else math.inf
        for name, off in apart[1].items()
    )
    return Training(
        dtype=str(dtype).removeprefix("torch."),
        steps=len(truth.losses),
        first=truth.losses[0],
        last=truth.losses[-1],
        theirs=_worst(apart[0]),
        ours=_worst(apart[1]),
        excess=excess,
    )


class Trained(BaseModel):
    """What a training came to: the loss of each step, what became of each parameter, and the
    log-probabilities of the likeliest tokens at the end.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    losses: list[float]
    updates: dict[str, Tensor]
    likeliest: Tensor


def _trained(model: nn.Module, steps: int) -> Trained:
    device = next(model.parameters()).device
    before = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    kept = {name: p.clone() for name, p in before.items()}
    losses = []
    torch.manual_seed(0)
    for _, batch in zip(range(steps), _batches(device), strict=False):
        loss: Tensor = model(**batch).loss
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.grad is not None:
                    kept[name] -= _RATE * p.grad.double()
                    p.copy_(kept[name])
        model.zero_grad()
        losses.append(float(loss.detach()))
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=next(_batches(device))["input_ids"]).logits
    likeliest = logits.double().log_softmax(-1).topk(_LIKELIEST).values
    updates = {name: kept[name] - before[name] for name in kept}
    return Trained(losses=losses, updates=updates, likeliest=likeliest)


def _batches(device: torch.device) -> Iterator[Mapping[str, Tensor]]:
    """Rows of this library's own words, a token for each letter."""
    words = (Path(workbench_kernels.__file__).parent / "truth.py").read_text(encoding="utf-8")
    letters = [6 + (ord(letter) - 32) % (tiny.VOCABULARY - 6) for letter in words]
    size = _ROWS * tiny.TOKENS
    for start in range(0, len(letters) - size, size):
        tokens = torch.tensor(letters[start : start + size]).view(_ROWS, -1).to(device)
        yield {"input_ids": tokens, "labels": tokens}


def _apart(found: Trained, truth: Trained) -> dict[str, float]:
    """How far from the truth each loss, each update and the log-probabilities are, as a share."""
    losses = zip(found.losses, truth.losses, strict=True)
    # Of one step alone PyTorch's may be right by luck.
    apart = {"losses": max(abs(loss - true) / abs(true) for loss, true in losses)}
    for name, update in truth.updates.items():
        size = float(update.norm()) or 1.0
        apart[f"update {name}"] = float((found.updates[name] - update).norm()) / size
    off = (found.likeliest - truth.likeliest).abs().max() / truth.likeliest.abs().max()
    apart["log-probabilities"] = float(off)
    return apart


def _worst(apart: Mapping[str, float]) -> Deviation:
    updates = {n.removeprefix("update "): v for n, v in apart.items() if n.startswith("update ")}
    parameter = max(updates, key=lambda name: updates[name])
    return Deviation(
        loss=apart["losses"],
        update=updates[parameter],
        log_probability=apart["log-probabilities"],
        parameter=parameter,
    )
