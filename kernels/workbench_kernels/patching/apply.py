"""`patch`, `unpatch` and `patched`: rules applied to one model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import nn

from workbench_kernels.launch import interpreted
from workbench_kernels.patching.add_norms import AddNorms
from workbench_kernels.patching.ahead import built_within
from workbench_kernels.patching.experts import Experts
from workbench_kernels.patching.gated_norms import GatedNorms
from workbench_kernels.patching.hinted import HintedNorms
from workbench_kernels.patching.instance import SETTINGS, is_hooked
from workbench_kernels.patching.loss import FusedLoss
from workbench_kernels.patching.mlps import Mlps
from workbench_kernels.patching.norms import Norms
from workbench_kernels.patching.qk_norms import QkNorms
from workbench_kernels.patching.recipe import Recipe, RecipeError, of_model
from workbench_kernels.patching.report import Entry, Report
from workbench_kernels.patching.rotary import RotaryFunctions
from workbench_kernels.patching.rule import Rule, Undo, Verdict
from workbench_kernels.patching.verdicts import Verdicts

# AddNorms and QkNorms take what the norms and rotary functions are served by.
RULES: tuple[Rule, ...] = (
    Norms(), GatedNorms(), Mlps(), Experts(), RotaryFunctions(), QkNorms(), AddNorms(), FusedLoss()
)  # fmt: skip
_HOOKED = Verdict(reason="its forward was replaced on the instance, as by hooks of accelerate")
_UNDO: WeakKeyDictionary[nn.Module, list[Undo]] = WeakKeyDictionary()


class PatchError(RuntimeError):
    """A model can't be patched, or not as asked; it is as it was."""


def patch(
    model: nn.Module,
    *,
    only: Collection[str] | None = None,
    strict: bool = False,
    verdicts: Verdicts | None = None,
    recipes: Sequence[Recipe] | None = None,
) -> Report:
    """Make the library's kernels serve every module of the model that they are proven for.

    only: kinds of modules, as "norm"; None for all.
    strict: something that could be served and is not is an error.
    verdicts: where proofs are kept from one run to the next; None for the user's cache.
    recipes: what is known of models of this type; None for those the library has.

    Modules keep their parameters, their names and their class; `unpatch` restores them.

    Raises:
        PatchError: it is patched already, is on a device where no kernel runs, its parameters are
            in other processes, `only` has no such kind, or a recipe can't be read; with strict,
            something was left alone.
    """
    if model in _UNDO:
        raise PatchError("the model is patched already; unpatch(model) first, to patch it anew")
    recipes = _recipes(model) if recipes is None else recipes
    known = {rule.kind for rule in (*RULES, *(r for recipe in recipes for r in recipe.rules))}
    if unknown := sorted(set(only or ()) - known):
        raise PatchError(
            f"there is no {unknown[0]!r} to patch; there are {', '.join(sorted(known))}"
        )
    _check_device(model)
    _check_parameters(model)
    verdicts = Verdicts.of_the_user() if verdicts is None else verdicts
    entries, undo = [], []
    for rule, path, module in _candidates(model, recipes):
        if only is not None and rule.kind not in only:
            continue
        verdict = _HOOKED if is_hooked(module) else _left(recipes, rule.kind, module)
        verdict = verdict or verdicts.find(rule, module)
        verdict = _promised(recipes, rule.kind, module, verdict)
        if verdict.served:
            undo.append(rule.install(module, verdict))
        entries.append(Entry(path, rule.kind, type(module).__name__, verdict))
    verdicts.save()
    report = Report(type(model).__name__, tuple(entries))
    if strict and report.left:
        _undo(undo)
        raise PatchError("left alone: " + "; ".join(map(str, report.left)))
    _UNDO[model] = undo
    return report


def unpatch(model: nn.Module) -> None:
    """Restore a model as it was before `patch`.

    Raises:
        PatchError: it is not patched.
    """
    if model not in _UNDO:
        raise PatchError("the model is not patched")
    _undo(_UNDO.pop(model))


@contextmanager
def patched(
    model: nn.Module | str,
    *,
    only: Collection[str] | None = None,
    strict: bool = False,
    verdicts: Verdicts | None = None,
) -> Iterator[list[Report]]:
    """`patch`, for as long as the context lasts; gives the report, in a list.

    model: or a type of transformers' models, as "llama": those that are built within the context
        are patched when they are first called, and stay so; the list has a report of each by then.

    Raises:
        PatchError: as `patch`; or a type is given, and transformers is not installed.
    """
    reports: list[Report] = []
    if isinstance(model, nn.Module):
        reports.append(patch(model, only=only, strict=strict, verdicts=verdicts))
        try:
            yield reports
        finally:
            unpatch(model)
        return

    def serve(built: nn.Module) -> None:
        # The models within a model are built, and called, too.
        if not any(SETTINGS in vars(module) for module in built.modules()):
            reports.append(patch(built, only=only, strict=strict, verdicts=verdicts))

    with ExitStack() as context:
        try:
            context.enter_context(built_within(model, serve))
        except ImportError as error:
            raise PatchError(f"{model!r} is a type of transformers', which is not here") from error
        yield reports


def _recipes(model: nn.Module) -> tuple[Recipe, ...]:
    try:
        return of_model(model)
    except RecipeError as error:
        raise PatchError(str(error)) from error


def _candidates(
    model: nn.Module, recipes: Sequence[Recipe]
) -> Iterator[tuple[Rule, str, nn.Module]]:
    """Every module that a rule finds, each once for a kind: first by what recipes say of it."""
    found = set[tuple[str, str]]()
    own = (rule for recipe in recipes for rule in recipe.rules)
    for rule in (*own, HintedNorms(recipes), *RULES):
        # What is installed meanwhile must not decide what is found.
        for path, module in list(rule.candidates(model)):
            if (rule.kind, path) not in found:
                found.add((rule.kind, path))
                yield rule, path, module


def _left(recipes: Sequence[Recipe], kind: str, module: nn.Module) -> Verdict | None:
    said = (recipe.leaves(kind, module) for recipe in recipes)
    return next((verdict for verdict in said if verdict is not None), None)


def _promised(recipes: Sequence[Recipe], kind: str, module: nn.Module, verdict: Verdict) -> Verdict:
    """The verdict; where nothing serves what a recipe says is served, it says that too."""
    said = (recipe.promises(kind, module) for recipe in recipes)
    promise = None if verdict.served else next(filter(None, said), None)
    return verdict if promise is None else replace(verdict, reason=f"{verdict.reason} ({promise})")


def _undo(steps: list[Undo]) -> None:
    for step in reversed(steps):
        step()


def _check_device(model: nn.Module) -> None:
    devices = {p.device.type for p in model.parameters()}
    if not devices:
        raise PatchError("the model has no parameters")
    if "meta" in devices:
        raise PatchError("the model is on the meta device: patch it once its weights are there")
    if unserved := sorted(devices - {"cuda"}):
        if unserved == ["cpu"] and interpreted():
            return
        hint = "move it to a GPU, or debug with TRITON_INTERPRET=1"
        raise PatchError(f"the model is on {unserved[0]}, where no kernel runs; {hint}")


def _check_parameters(model: nn.Module) -> None:
    """Of ZeRO's third stage, DeepSpeed leaves a process parameters without elements, and their
    shapes beside. Vectors have to be here: a norm is proven at its width.
    """
    for name, p in model.named_parameters():
        if not p.numel() and len(getattr(p, "ds_shape", ())) == 1:
            raise PatchError(
                f"{name} is spread over processes by DeepSpeed: patch before deepspeed.initialize, "
                "or within deepspeed.zero.GatheredParameters of the parameters with one dimension"
            )
