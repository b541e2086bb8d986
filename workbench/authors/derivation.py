"""What the draft author derives: the text of an op's files, from its traced graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from workbench import tiers
from workbench.authors.formatting import formatted
from workbench.authors.formula import formulas
from workbench.authors.plan import OpPlan, plan_op
from workbench.authors.spec import spec
from workbench.authors.surface import Surface
from workbench.authors.templates import environment, render
from workbench.authors.view import OpView, unpacked
from workbench.errors import AuthorError
from workbench.graph import safe
from workbench.layout import op_paths
from workbench.lower import Lowered, lower
from workbench.profile import Profile
from workbench.reference import Reference
from workbench.trace import COLS, ROWS, trace

HIGHEST_TIER = 2


def derive(profile: Profile, reference: Reference) -> dict[Path, str]:
    """The files by path.

    Raises:
        AuthorError: a node has no derivation here.
        TemplateError: a template is missing, broken, or uses a variable nobody gave.
    """
    if profile.traced_tier > HIGHEST_TIER:
        raise AuthorError(
            f"{profile.op} is tier {profile.traced_tier}: {profile.reasons[0]}",
            hint="the draft author derives tiers 1 and 2; take another author for this op",
        )
    lowered = lower(trace(reference))
    sample = reference.inputs(ROWS, COLS)
    ranks = {safe(n): t.dim() for n, t in zip(reference.tensors, sample, strict=True)}
    parameters = {safe(name): value for name, value in reference.parameters.items()}
    float32 = _always_float32(reference, lowered.outputs)
    plan = plan_op(profile.op, lowered, ranks, parameters, float32)
    folder, test = map(Path, op_paths(profile.op))
    variables = _variables(reference, plan, lowered)
    tier = tiers.tier(profile.tier)
    templates = {
        folder / "kernel.py": f"{tier.folder.name}/templates/kernel.py.j2",
        folder / "wrapper.py": "_common/wrapper.py.j2",
        test: "_common/test.py.j2",
    }
    found = environment(tier.folder.parent)
    found.filters["unpacked"] = unpacked
    return {folder / "spec.py": spec(profile, reference)} | {
        path: formatted(render(found, name, variables)) for path, name in templates.items()
    }


def _variables(reference: Reference, plan: OpPlan, lowered: Lowered) -> dict[str, object]:
    assert lowered.backward is not None
    summary = reference.formula or f"as {reference.symbol} in its spec."
    user = Surface(plan=plan, by_rows=not plan.is_flat)
    return {
        "op": OpView(plan, summary, formulas(lowered.forward), formulas(lowered.backward)),
        "user": user,
    }


def _always_float32(reference: Reference, names: Sequence[str]) -> list[str]:
    """The outputs that are float32 of inputs in bfloat16."""
    inputs = reference.inputs(ROWS, COLS)
    narrow = [t.bfloat16() if t.is_floating_point() else t for t in inputs]
    found = reference.function(*narrow, **reference.parameters)
    outputs = found if isinstance(found, tuple) else (found,)
    return [n for n, y in zip(names, outputs, strict=True) if y.dtype is torch.float32]
