"""One type of model after the other, each in a process of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version

import torch
from torch import Tensor, nn

from workbench.models import Coverage, Row, tiny
from workbench.models.launches import Launches
from workbench.models.processes import each, said
from workbench.models.training import Training

# Float32 sums in another order differ by a few units in the last place, and through the layers by
# some more.
_LOSS_WITHIN, _GRADIENT_WITHIN, _OF_THE_LARGEST = 1e-5, 1e-4, 1e-6


def census(kinds: Sequence[str], told: Callable[[str], None]) -> Coverage:
    """All of these types; `told` hears of each as it is done."""
    rows = {}
    for kind, row in each(kinds, measure):
        rows[kind] = row if isinstance(row, Row) else Row(type=kind, why=row)
        told(kind)
    versions = {name: version(name) for name in ("transformers", "torch", "triton")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "interpreter"
    return Coverage(versions=versions, device=device, rows=tuple(rows[k] for k in sorted(rows)))


def trained(
    kinds: Sequence[str], told: Callable[[str], None]
) -> dict[str, tuple[Training, ...] | str]:
    """Of each type a training in every dtype, or why there is none."""
    found = {}
    for kind, trainings in each(kinds, train):
        found[kind] = trainings
        told(kind)
    return {kind: found[kind] for kind in sorted(found)}


def train(kind: str) -> tuple[Training, ...] | str:
    """Some steps in each dtype, with the library and without; or why that can't be."""
    from workbench.models import training
    from workbench_kernels.patching import patch
    from workbench_kernels.patching.verdicts import Verdicts

    known = Verdicts()

    def serve(model: nn.Module) -> None:
        patch(model, verdicts=known)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return tuple(
            training.compare(kind, dtype, serve, device)
            for dtype in (torch.float32, torch.bfloat16)
        )
    except Exception as error:
        return said(error)


def measure(kind: str) -> Row:
    """One type: built, trained a step, patched, trained a step, compared."""
    from workbench_kernels.patching import patch
    from workbench_kernels.patching.verdicts import Verdicts

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, theirs = tiny.first(kind, lambda model: _finite(model.to(device)))
        model.to(device)
    except Exception as error:
        return Row(type=kind, why=said(error))
    try:
        report = patch(model, verdicts=Verdicts())
        with Launches() as launches:
            ours = _step(model)
        apart = difference(theirs, ours)
    except Exception as error:
        return Row(type=kind, difference=said(error))
    return Row(
        type=kind,
        ran=dict(sorted(launches.ops.items())),
        served=Counter(entry.kind for entry in report.served),
        left=Counter(entry.kind for entry in report.left),
        reasons=tuple(dict.fromkeys(f"{e.module}: {e.verdict.reason}" for e in report.left)),
        difference=apart,
    )


Step = tuple[Tensor, dict[str, Tensor]]


def _finite(model: nn.Module) -> Step:
    """A step of a model whose loss says something.

    Raises:
        ValueError: it does not.
    """
    step = _step(model)
    if not step[0].isfinite():
        raise ValueError("its loss is not finite")
    return step


def _step(model: nn.Module) -> Step:
    """The loss and the gradients."""
    torch.manual_seed(2)
    device = next(model.parameters()).device
    loss: Tensor = model(**tiny.batch(device)).loss
    loss.backward()  # type: ignore[no-untyped-call]
    named = model.named_parameters()
    return loss.detach(), {n: p.grad for n, p in named if p.grad is not None}


def difference(theirs: Step, ours: Step) -> str:
    """What is not the same of two steps; empty for nothing."""
    (loss, gradients), (our_loss, our_gradients) = theirs, ours
    if not (loss - our_loss).abs() <= _LOSS_WITHIN * loss.abs():
        return f"the loss is {our_loss:.7g}, not {loss:.7g}"
    if others := gradients.keys() ^ our_gradients.keys():
        return f"only one has a gradient of {min(others)}"
    filled = {name: gradient for name, gradient in gradients.items() if gradient.numel()}
    largest = max(float(gradient.abs().max()) for gradient in filled.values())
    for name, gradient in filled.items():
        size = float(gradient.abs().max())
        off = float((gradient - our_gradients[name]).abs().max())
        if not off <= _GRADIENT_WITHIN * size + _OF_THE_LARGEST * largest:
            return f"the gradient of {name} is off by {off:.1e}, and at most {size:.1e}"
    return ""
