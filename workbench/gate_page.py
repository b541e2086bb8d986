"""What a person confirms by, in lines: a profile, and the reference it is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.profile import Profile

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


def steps(run: str, file: str, changed: bool) -> Iterator[Line]:
    """What to do at the gate."""
    if changed:
        yield "changed", [f"{file} is not what is shown:  workbench resume {run} analyzes it"]
    yield "confirm", [f"workbench profile confirm {run}"]
    yield "change", [f"workbench profile edit {run} [--reference FILE] [--tier N]"]
    yield "discard", [f"workbench abort {run}"]
