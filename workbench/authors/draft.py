"""The draft author: derives an op's kernels from its traced graphs, offline and the same way every
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from workbench import tiers
from workbench.authors import Assignment, Patching, Written
from workbench.authors.formatting import formatted
from workbench.authors.formula import formulas
from workbench.authors.plan import OpPlan, plan_op
from workbench.authors.spec import spec
from workbench.authors.surface import Surface
from workbench.authors.templates import environment, render
from workbench.authors.view import OpView, unpacked
from workbench.errors import AuthorError, UsageError
from workbench.graph import safe
from workbench.layout import op_paths
from workbench.lower import Lowered, lower
from workbench.profile import Profile
from workbench.reference import Reference
from workbench.trace import COLS, ROWS, trace

HIGHEST_TIER = 2


class DraftAuthor:
    """Writes tiers 1 and 2; refuses what it can't derive by naming the node."""

    name = "draft"

    def check(self, options: Mapping[str, Any], runs: Path) -> None:
        """Refuse what is for authors that ask a model.

        Raises:
            UsageError: there is something to limit.
        """
        if options:
            raise UsageError(
                "the draft author asks no model, so there is nothing to choose or limit",
                "leave --model, --effort and limits out, or take --author claude",
            )

    def write(self, assignment: Assignment) -> Written:
        """Write the op's four files.

        Raises:
            AuthorError: a node has no derivation here.
            TemplateError: a template is missing, broken, or uses a variable nobody gave.
        """
        files = self.render(assignment.profile, assignment.reference)
        for path, text in files.items():
            (assignment.root / path).parent.mkdir(parents=True, exist_ok=True)
            (assignment.root / path).write_text(text, encoding="utf-8")
        return Written(tuple(files))

    def patch(self, patching: Patching) -> Written:
        """Write the recipe: what the rules serve, with what was found to help them."""
        from workbench.autopatch.draft import draft

        return draft(patching)

    def render(self, profile: Profile, reference: Reference) -> dict[Path, str]:
        """The files as text, by path."""
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
        variables = self._variables(reference, plan, lowered)
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

    @staticmethod
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
