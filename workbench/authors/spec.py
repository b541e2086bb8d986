"""The spec of a new op: its reference's own text, and what the profile says of it.

The engine writes it, whoever writes the rest: what an op is judged by is no author's choice.
"""

from __future__ import annotations

from workbench import tiers
from workbench.authors.formatting import formatted
from workbench.authors.templates import environment, render
from workbench.profile import Profile, TrafficModel
from workbench.reference import Reference
from workbench.source import arrange

_FULL = "element"
_PRODUCTS = "matmul"


def spec(profile: Profile, reference: Reference) -> str:
    """The text of spec.py.

    Raises:
        TemplateError: its template is missing, broken, or uses a variable nobody gave.
    """
    tier, inputs = tiers.tier(profile.tier), profile.inputs
    needed = ("from __future__ import annotations", *reference.imports)
    if not reference.inputs_source:
        needed += ("import torch", "from torch import Tensor")
    return formatted(
        render(
            environment(tier.folder.parent),
            "_common/spec.py.j2",
            {
                "profile": profile,
                "reference": reference,
                "tier": tier,
                "imports": arrange((*needed, "from workbench_kernels.spec import OpSpec, Traffic")),
                "drawn": f"({'torch.randn(rows, cols), ' * len(inputs)})",
                "tensors": tuple(tensor.name for tensor in inputs),
                "differentiable": tuple(t.name for t in inputs if t.differentiable),
                "forward": profile.forward or _forward_floor(profile),
                "backward": profile.backward or _backward_floor(profile),
                "products": any(reason.startswith(_PRODUCTS) for reason in profile.reasons),
            },
        )
    )


def _forward_floor(profile: Profile) -> TrafficModel:
    """What can't be avoided of an op whose arithmetic isn't known: its inputs and its outputs."""
    reads = sum(tensor.kind == _FULL for tensor in profile.inputs)
    return TrafficModel(reads=reads, writes=profile.outputs.count(_FULL))


def _backward_floor(profile: Profile) -> TrafficModel:
    """The gradients that come in and those that go out; whether an input is needed isn't known."""
    writes = sum(tensor.kind == _FULL and tensor.differentiable for tensor in profile.inputs)
    return TrafficModel(reads=profile.outputs.count(_FULL), writes=writes)
