"""The draft author: derives an op's kernels from its traced graphs, offline and the same way every
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
import torch

from workbench import tiers
from workbench.authors.formatting import formatted
from workbench.authors.formula import formulas
from workbench.authors.plan import OpPlan, plan_op
from workbench.authors.surface import Surface
from workbench.authors.view import OpView, unpacked
from workbench.errors import AuthorError, TemplateError
from workbench.graph import safe
from workbench.lower import Lowered, lower
from workbench.profile import Profile
from workbench.reference import Reference
from workbench.source import arrange
from workbench.trace import COLS, ROWS, trace

HIGHEST_TIER = 2


class DraftAuthor:
    """Writes tiers 1 and 2; refuses what it can't derive by naming the node."""

    name = "draft"

    def write(self, profile: Profile, reference: Reference, root: Path) -> list[Path]:
        """Write the op's four files below `root`; their paths relative to it.

        Raises:
            AuthorError: a node has no derivation here.
            TemplateError: a template is missing, broken, or uses a variable nobody gave.
        """
        files = self.render(profile, reference)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return list(files)

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
        folder = Path("kernels/workbench_kernels") / profile.op
        variables = self._variables(profile, reference, plan, lowered)
        tier = tiers.tier(profile.tier)
        environment = _environment(tier.folder.parent)
        templates = {
            folder / "spec.py": "_common/spec.py.j2",
            folder / "kernel.py": f"{tier.folder.name}/templates/kernel.py.j2",
            folder / "wrapper.py": "_common/wrapper.py.j2",
            Path(f"tests/kernels/test_{profile.op}.py"): "_common/test.py.j2",
        }
        return {
            path: formatted(_render(environment, name, variables))
            for path, name in templates.items()
        }

    @staticmethod
    def _variables(
        profile: Profile, reference: Reference, plan: OpPlan, lowered: Lowered
    ) -> dict[str, object]:
        assert lowered.backward is not None
        summary = reference.formula or f"as {reference.symbol} in its spec."
        user = Surface(plan=plan, by_rows=not plan.is_flat)
        needed = ["import torch", "from torch import Tensor"] if not reference.inputs_source else []
        imports = ("from __future__ import annotations", *reference.imports, *needed)
        return {
            "op": OpView(plan, summary, formulas(lowered.forward), formulas(lowered.backward)),
            "user": user,
            "reference": reference,
            "tier": tiers.tier(profile.tier),
            "imports": arrange((*imports, "from workbench_kernels.spec import OpSpec, Traffic")),
        }


def _always_float32(reference: Reference, names: Sequence[str]) -> list[str]:
    """The outputs that are float32 of inputs in bfloat16."""
    inputs = reference.inputs(ROWS, COLS)
    narrow = [t.bfloat16() if t.is_floating_point() else t for t in inputs]
    found = reference.function(*narrow, **reference.parameters)
    outputs = found if isinstance(found, tuple) else (found,)
    return [n for n, y in zip(names, outputs, strict=True) if y.dtype is torch.float32]


def _environment(root: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(root),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # it writes Python, not HTML
    )
    environment.filters["unpacked"] = unpacked
    return environment


def _render(environment: jinja2.Environment, name: str, variables: dict[str, object]) -> str:
    try:
        text = environment.get_template(name).render(variables)
    except jinja2.TemplateNotFound as error:
        raise TemplateError(
            f"there is no template {error.name}", hint="templates are below tiers/"
        ) from error
    except jinja2.UndefinedError as error:
        raise TemplateError(
            f"template {name}: {error.message}",
            hint="a template may use only what its author gives",
        ) from error
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            f"template {error.filename or name}:{error.lineno}: {error.message}"
        ) from error
    return text.rstrip() + "\n"
