"""What is done with a model in the sandbox: looked at, trained as it is, with the library, and with
kernels that are wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.autopatch import LOST, OFF, Unseen
from workbench.autopatch.anatomy import anatomy, unseen
from workbench.models import tiny, training
from workbench.models.launches import LIBRARY, Launches
from workbench.models.training import Trained
from workbench_kernels.patching import patch, unpatch
from workbench_kernels.patching.hinted import HintedNorms
from workbench_kernels.patching.loss import FusedLoss
from workbench_kernels.patching.recipe import PARAMETERS, Recipe, Served, class_name, of_model
from workbench_kernels.patching.report import Entry, Report
from workbench_kernels.patching.verdicts import Verdicts

# A hook on the head would be shown logits: then they are computed.
_LOSS = FusedLoss.kind
_PLANTED: Mapping[str, Callable[[Tensor], Tensor]] = {
    OFF: lambda y: y * 1.01,
    LOST: lambda y: torch.cat([y[:-1], torch.zeros_like(y[-1:])]),
}
# What was proven here is, for every task.
_KNOWN = Verdicts()
Config = Mapping[str, Any]
Answer = tuple[dict[str, Any], dict[str, Tensor]]


def look(kind: str, config: Config, recipes: bool) -> Answer:
    """The model's anatomy, as the library's recipes have it; or without what they say, but for what
    a recipe would have to.
    """
    model, hints = _model(kind, config), list[Served]()
    known = [replace(recipe, served=(), left=()) for recipe in of_model(model)]
    if not recipes:
        report = _patched(model, known)
        hints = [h for one in unseen(model, report) if (h := _hint(model, one)) is not None]
    own = None if recipes else [*known, Recipe(kind, "", tuple(hints))]
    words = {hint.name: _words(hint) for hint in hints}
    return anatomy(kind, model, _patched(model, own), words).model_dump(mode="json"), {}


def _patched(model: nn.Module, recipes: Sequence[Recipe] | None) -> Report:
    """What patching comes to; the model is as it was."""
    report = patch(model, verdicts=_KNOWN, recipes=recipes)
    unpatch(model)
    return report


def _hint(model: nn.Module, one: Unseen) -> Served | None:
    """What to say of a class for it to be served, if anything does: proven, not believed."""
    module = next(m for m in model.modules() if class_name(m) == one.name)
    for hint in _hints(one):
        if _KNOWN.find(HintedNorms([Recipe("", "", (hint,))]), module).served:
            return hint
    return None


def _words(hint: Served) -> dict[str, str | float]:
    """A hint as a recipe has it."""
    eps = {} if hint.eps is None else {"eps": hint.eps}
    return {**eps, **(hint.names or {})}


def _hints(one: Unseen) -> list[Served]:
    """What may be said of a class: any small number of its code, its parameters in their order."""
    names = dict(zip(PARAMETERS, one.parameters, strict=False))
    said = {role: name for role, name in names.items() if role != name}
    return [Served(one.name, "norm", "", eps=eps, names=said or None) for eps in one.eps]


def plain(kind: str, config: Config, dtype: str, steps: int) -> Answer:
    """What the model learns without the library: the truth, and in this dtype."""
    made = training.start(kind, getattr(torch, dtype), _device(), config)
    truth, theirs = training.unserved(made, getattr(torch, dtype), steps)
    (said, tensors), (also, more) = _packed(truth, "truth"), _packed(theirs, "theirs")
    return said | also, tensors | more


def ours(kind: str, config: Config, dtype: str, steps: int) -> Answer:
    """What it learns with it, which ops of the library ran, and in which modules."""
    made = training.start(kind, getattr(torch, dtype), _device(), config)
    launches, reports = Launches(), list[Report]()

    def serve(model: nn.Module) -> None:
        reports.append(patch(model, verdicts=_KNOWN))
        launches.watch(model, [e.path for e in _running(reports[-1]) if e.kind != _LOSS])

    with launches:
        trained = training.served(made, getattr(torch, dtype), serve, steps)
    said, tensors = _packed(trained, "ours")
    ran = {"ran": dict(launches.ops), "within": dict(launches.within)}
    served = [[e.path, e.kind, e.verdict.kernel] for e in _running(reports[-1])]
    return said | ran | {"served": served}, tensors


def _running(report: Report) -> list[Entry]:
    """What is served and runs by itself: not what another module's kernel computes, too, unless
    somebody watches it.
    """
    taken = {
        f"{entry.path}.{name}"
        for entry in report.served
        for name in entry.verdict.options.get("takes", ())
    }
    return [entry for entry in report.served if entry.path not in taken]


def planted(kind: str, config: Config, dtype: str, steps: int, op: str, plant: str) -> Answer:
    """What it learns where one of the library's ops is wrong, which nothing that proves it saw."""
    made = training.start(kind, getattr(torch, dtype), _device(), config)
    wrong = Wrong(op, _PLANTED[plant])

    def serve(model: nn.Module) -> None:
        patch(model, verdicts=_KNOWN)
        wrong.begun = True

    with wrong:
        return _packed(training.served(made, getattr(torch, dtype), serve, steps), "ours")


TASKS: Mapping[str, Callable[..., Answer]] = {
    "look": look,
    "plain": plain,
    "ours": ours,
    "planted": planted,
}


class Wrong(TorchDispatchMode):
    """Makes one of the library's ops wrong, what it gives or writes, from when it has `begun`."""

    def __init__(self, op: str, plant: Callable[[Tensor], Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.begun = False
        self._op, self._plant = op, plant

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        got = func(*args, **(kwargs or {}))
        if not self.begun or func.namespace != LIBRARY or func.overloadpacket.__name__ != self._op:
            return got
        for argument, t in zip(func._schema.arguments, args, strict=False):
            if argument.is_write and t is not None:
                t.copy_(self._of(t))
        several = got if isinstance(got, tuple | list) else (got,)
        wrong = tuple(self._of(t) for t in several)
        return type(got)(wrong) if isinstance(got, tuple | list) else wrong[0]

    def _of(self, t: Any) -> Any:
        if not isinstance(t, Tensor) or not t.is_floating_point() or not t.numel():
            return t
        return self._plant(t) if t.dim() else t * 1.01


def _packed(trained: Trained, name: str) -> Answer:
    updates = {f"{name} {parameter}": t for parameter, t in trained.updates.items()}
    return {f"{name} losses": trained.losses}, updates | {f"{name}": trained.likeliest}


def _model(kind: str, config: Config) -> nn.Module:
    model, _ = tiny.first(kind, lambda model: model(**tiny.batch(torch.device("cpu"))), config)
    return model.to(_device())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
