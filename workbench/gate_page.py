"""What a person confirms by, in lines: an op's profile, or what is in a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workbench.autopatch import Anatomy
from workbench.profile import Profile
from workbench.runs.gate import Page

Line = tuple[str, Sequence[str]]


def profile(found: Profile) -> Iterator[Line]:
    """What an op is, before any kernel exists: a label and facts each."""
    parameters = [f"{name} = {value:g}" for name, value in found.parameters.items()]
    forced = [f"forced; traced as tier {found.traced_tier}"] * (found.tier != found.traced_tier)
    yield "op", [found.op, found.formula, found.origin]
    yield "tier", [str(found.tier), *forced, *found.reasons]
    yield "inputs", [f"{tensor.name}: {tensor.kind}" for tensor in found.inputs]
    yield "parameters", parameters or ["none"]
    yield "outputs", found.outputs
    yield "traced", [f"{found.forward_ops} forward, {found.backward_ops} backward ops"]
    yield "saved", found.saved or ["nothing"]
    yield "recomputed", found.recomputed or ["nothing"]
    yield "float32", found.float32_steps or ["no step needs it"]
    for name, traffic in (("forward", found.forward), ("backward", found.backward)):
        if traffic is not None:
            yield (
                name,
                [f"reads {traffic.reads}, writes {traffic.writes} full-size tensors"],
            )


def anatomy(found: Anatomy) -> Iterator[Line]:
    """What is in a model: what one has to know to patch it, and what no rule sees."""
    yield "model", [found.model, *(f"{name} {v}" for name, v in found.versions.items())]
    for one in found.unseen:
        yield "not seen", [f"{one.count} x {one.name}", one.looks]


def lines(page: Page) -> Iterator[Line]:
    """What a person confirms, in lines."""
    if page.run.request.commission is None:
        return anatomy(Anatomy.model_validate(page.profile))
    return profile(Profile.model_validate(page.profile))


def tables(page: Page) -> Mapping[str, list[dict[str, Any]]]:
    """And in rows, by their titles."""
    if page.run.request.commission is not None:
        return {}
    found = Anatomy.model_validate(page.profile)
    decisions = [{"": name, "as found": said} for name, said in found.decisions.items()]
    return {"decisions": decisions, "modules": [part.row() for part in found.parts]}


def steps(page: Page) -> Iterator[Line]:
    """What to do at the gate."""
    run = page.run.id
    if page.changed:
        yield "changed", [f"{page.file} is not what is shown:  workbench resume {run} analyzes it"]
    yield "confirm", [f"workbench profile confirm {run}"]
    if page.run.request.commission is not None:
        yield "change", [f"workbench profile edit {run} [--reference FILE] [--tier N]"]
    yield "discard", [f"workbench abort {run}"]
