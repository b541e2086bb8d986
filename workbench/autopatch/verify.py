"""Whether a recipe is right. Models are trained in a sandbox; what came of that is compared here,
where no recipe reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.autopatch import DTYPES, PLANTS, Anatomy, text
from workbench.autopatch.sandboxed import Bench
from workbench.autopatch.verdict import ModelVerdict, Planted
from workbench.errors import ModelError
from workbench.evidence.machine import versions
from workbench.judge.verdict import Check
from workbench.layout import recipe
from workbench.models import training
from workbench.models.training import STEPS, Trained, Training
from workbench.repository import content_of
from workbench_kernels.patching.recipe import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

# Of a training with a wrong kernel: after so many, whatever is wrong shows in the updates.
PLANTED_STEPS = 2
Tell = Callable[[str], None]


def verify(
    root: Path, base: Path, confirmed: Anatomy, config: Mapping[str, Any], tell: Tell
) -> ModelVerdict:
    """The verdict on the recipe below `root` of a type whose anatomy a person has confirmed; below
    `base` is the library without it, where no code of the recipe's is beside the truth.

    Raises:
        VerificationFailed: a process in the sandbox ended.
        ModelError: no model can be made.
    """
    kind, started = confirmed.type, time.monotonic()
    present = content_of(root, recipe(kind))
    try:
        found = text.read(kind, present)
    except RecipeError as error:
        check = Check(name="recipe", status="failed", message=str(error))
        return _verdict(confirmed, present.digests, [check], started)
    with ExitStack() as stack:
        bench = plain = stack.enter_context(Bench(root))
        if text.code_path(kind) in present.files:
            plain = stack.enter_context(Bench(base))
        trial = Trial(bench, plain, kind, config, tell)
        tell("looking at the patched model")
        anatomy = trial.anatomy()
        checks = [
            _check("recipe", text.differences(found, anatomy), len(found.served)),
            _check("source", confirmed.changes(anatomy), len(anatomy.sources)),
        ]
        trainings = [partial(trial.training, dtype) for dtype in DTYPES]
        trials: list[Callable[[], Check]] = [*trainings, trial.launches, trial.plants]
        for made in trials:  # each takes its time: after a failure there is no need
            if all(check.status != "failed" for check in checks):
                checks.append(made())
    verdict = _verdict(anatomy, present.digests, checks, started, bench.sandbox)
    return verdict.model_copy(
        update={
            "config": dict(config),
            "trainings": tuple(trial.trainings),
            "planted": tuple(trial.planted),
            "ran": dict(trial.launched.ran),
        }
    )


class Launched(BaseModel):
    """What ran: ops of the library by how often, those within each module, and of each module that
    is served its path, kind and kernel.
    """

    model_config = ConfigDict(frozen=True)

    ran: dict[str, int] = {}
    within: dict[str, int] = {}
    served: list[tuple[str, str, str]] = []


_LAUNCHED = tuple(Launched.model_fields)


class Trial:
    """One model in the sandbox, in `plain` as it is, and what was found of it."""

    def __init__(
        self, bench: Bench, plain: Bench, kind: str, config: Mapping[str, Any], tell: Tell
    ) -> None:
        self._bench, self._plain, self._tell = bench, plain, tell
        self._model = {"kind": kind, "config": config}
        self.trainings: list[Training] = []
        self.planted: list[Planted] = []
        self.launched = Launched()

    def anatomy(self) -> Anatomy:
        """What is in the model, as the library's recipes have it.

        Raises:
            ModelError: nothing can be made of what came back.
        """
        said, _ = self._bench.ask("look", **self._model, recipes=True)
        try:
            return Anatomy.model_validate(said)
        except ValidationError as error:
            raise ModelError(f"what came back is nothing a model has: {error}") from error

    def training(self, dtype: str) -> Check:
        """The model learns what it does without the library."""
        name, started = f"training {dtype}", time.monotonic()
        self._tell(f"training in {dtype}: {STEPS} steps as it is")
        try:
            truth, theirs = self._unserved(dtype, STEPS)
        except ModelError as error:
            message = f"it can't be trained without the library either: {error}"
            return Check(name=name, status="skipped", message=message)
        self._tell(f"training in {dtype}: {STEPS} steps with the library")
        try:
            said, tensors = self._bench.ask("ours", **self._model, dtype=dtype, steps=STEPS)
            found = training.judged(truth, theirs, _trained(said, tensors, "ours"), _of(dtype))
            launched = Launched.model_validate({name: said.get(name) for name in _LAUNCHED})
        except (ModelError, ValueError) as error:
            return Check(name=name, status="failed", message=str(error))
        self.trainings.append(found)
        self.launched = launched
        problem = [] if found.same else [_off(found)]
        return _check(name, problem, cases=STEPS, seconds=time.monotonic() - started)

    def launches(self) -> Check:
        """What serves a module ran in it, in each step: in one that text alone never reaches, it
        can't be seen.
        """
        if not self.trainings:
            return Check(name="launches", status="failed", message="nothing was trained")
        idle = []
        ran, within, served = self.launched.ran, self.launched.within, self.launched.served
        for path, kind, kernel in served:
            # A head has no count of its own; its kernel is the loss's alone.
            seen = ran.get(kernel, 0) if kind == "loss" else within.get(path, 0)
            if 0 < seen < STEPS or (not seen and kind == "loss"):
                message = f"{path} ({kind}): {kernel} ran {seen} times in {STEPS} steps"
                return Check(name="launches", status="failed", message=message)
            idle += [path] * (not seen)
        if len(idle) == len(served):
            return Check(name="launches", status="failed", message="no kernel of the library ran")
        return Check(
            name="launches",
            status="passed",
            cases=len(served) - len(idle),
            message=f"not reached by text alone: {', '.join(idle[:6])}" if idle else "",
        )

    def plants(self) -> Check:
        """Were a kernel that ran wrong, the training would show it. What a module's own proof is
        worth is not asked here: it was made before.
        """
        name, started = "planted wrong kernels", time.monotonic()
        if not self.trainings or not self.launched.ran:
            return Check(name=name, status="skipped", message="nothing was trained")
        dtype = DTYPES[0]
        truth, theirs = self._unserved(dtype, PLANTED_STEPS)
        for op in sorted(self.launched.ran):
            self._tell(f"training with {op} planted wrong, which must be noticed")
            for plant in PLANTS:
                self.planted.append(self._planted(op, plant, dtype, truth, theirs))
        missed = [f"{one.op} {one.plant}" for one in self.planted if not one.noticed]
        problem = [f"not noticed: {', '.join(missed)}"] if missed else []
        seconds = time.monotonic() - started
        return _check(name, problem, cases=len(self.planted), seconds=seconds)

    def _planted(self, op: str, plant: str, dtype: str, truth: Trained, theirs: Trained) -> Planted:
        asked = {"dtype": dtype, "steps": PLANTED_STEPS, "op": op, "plant": plant}
        try:
            said, tensors = self._bench.ask("planted", **self._model, **asked)
            found = training.judged(truth, theirs, _trained(said, tensors, "ours"), _of(dtype))
        except (ModelError, ValueError) as error:
            return Planted(op=op, plant=plant, excess=0.0, error=str(error))
        return Planted(op=op, plant=plant, excess=found.excess)

    def _unserved(self, dtype: str, steps: int) -> tuple[Trained, Trained]:
        said, tensors = self._plain.ask("plain", **self._model, dtype=dtype, steps=steps)
        return _trained(said, tensors, "truth"), _trained(said, tensors, "theirs")


def _trained(said: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str) -> Trained:
    """A training that came back.

    Raises:
        ValueError: it is none.
    """
    begin = f"{name} "
    updates = {key.removeprefix(begin): t for key, t in tensors.items() if key.startswith(begin)}
    try:
        losses = [float(loss) for loss in said[f"{name} losses"]]
        return Trained(losses=losses, updates=updates, likeliest=tensors[name])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"what came back is no training: {error!r}") from error


def _of(dtype: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype)
    return found


def _off(found: Training) -> str:
    ours, theirs = found.ours, found.theirs
    return (
        f"it does not learn the same: {found.excess:.2f} of what is allowed; losses are off by "
        f"{ours.loss:.1e} ({theirs.loss:.1e} without the library), the update of {ours.parameter} "
        f"by {ours.update:.1e} (at worst {theirs.update:.1e}), log-probabilities by "
        f"{ours.log_probability:.1e} ({theirs.log_probability:.1e})"
    )


def _check(name: str, problems: Sequence[str], cases: int = 0, seconds: float = 0.0) -> Check:
    return Check(
        name=name,
        status="failed" if problems else "passed",
        cases=cases,
        message="\n".join(problems),
        seconds=round(seconds, 1),
    )


def _verdict(
    anatomy: Anatomy,
    files: Mapping[str, str],
    checks: Sequence[Check],
    started: float,
    sandbox: str = "",
) -> ModelVerdict:
    on_gpu = torch.cuda.is_available()
    return ModelVerdict(
        op=anatomy.type,
        seed=0,
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        interpreted=not on_gpu,
        versions=versions(dict(anatomy.versions)),
        dtypes=DTYPES,
        sandbox=sandbox,
        files=dict(files),
        checks=tuple(checks),
        seconds=round(time.monotonic() - started, 1),
        anatomy=anatomy,
    )
