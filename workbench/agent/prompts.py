"""What the model is told: templates below prompts/, and what an op's author should have before it.

Text of a reference is data in them, between fences; whatever it says, the engine does as before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from workbench import playbook, tiers
from workbench.assets import asset
from workbench.authors import Assignment, Patching, Revision, Wanted
from workbench.authors.templates import environment, render
from workbench.layout import LIBRARY, op_paths
from workbench.limits import Limits
from workbench.repository import ops_in

WORKFLOW = "kernel-dev"
# Of a file that is shown as an example.
MOST_CHARACTERS = 16_000


@dataclass(frozen=True)
class Example:
    """A file to learn from."""

    path: str
    text: str


def system(assignment: Assignment) -> str:
    """What every request begins with."""
    return _stored(assignment, "system", {})


def task(assignment: Assignment, spec: str, limits: Limits) -> str:
    """The op to write, and what is known of it."""
    return _stored(
        assignment,
        "generate",
        {
            "profile": assignment.profile,
            "spec": spec,
            "paths": op_paths(assignment.profile.op),
            "tier": tiers.tier(assignment.profile.tier),
            "templates": templates(assignment.profile.tier),
            "closest": closest(assignment),
            "library": LIBRARY,
            "architecture": (architecture := playbook.at_hand()),
            "facts": playbook.told(architecture),
            "limits": limits,
        },
    )


def attempt(assignment: Assignment) -> str:
    """Which of several attempts this one is, and what it is to try; "" where it is the only one.

    It is said after all that is the same for each, so that a cache which has that has it for all.
    """
    if assignment.cohort is None:
        return ""
    return _stored(assignment, "attempt", {"cohort": assignment.cohort})


def reference(wanted: Wanted, limits: Limits) -> tuple[str, str]:
    """What every request for a reference begins with, and what it is to be written from."""
    variables = {"op": wanted.op, "commission": wanted.commission, "limits": limits}
    system = _stored(wanted, "reference-system", {})
    return system, _stored(wanted, "reference", variables | {"origin": wanted.origin})


def revision(asked: Revision, limits: Limits) -> tuple[str, str]:
    """What every request for a revision begins with, and what is to be changed."""
    folder, test = op_paths(asked.op)
    paths = [f"{folder}/spec.py", f"{folder}/kernel.py", f"{folder}/wrapper.py", test]
    files = [Example(p, (asked.root / p).read_text("utf-8", "replace")) for p in paths]
    variables = {"op": asked.op, "words": asked.words, "files": files, "limits": limits}
    system = _stored(asked, "system", {}, workflow="revise")
    return system, _stored(asked, "revise", variables, workflow="revise")


def patching(asked: Patching, begun: str, limits: Limits) -> tuple[str, str]:
    """What every request for a recipe begins with, and what is known of the model."""
    variables = {"anatomy": asked.anatomy, "text": begun, "limits": limits}
    system = _stored(asked, "system", {}, workflow="autopatch")
    return system, _stored(asked, "patch", variables, workflow="autopatch")


def repair(assignment: Assignment | Revision | Patching, number: int, limits: Limits) -> str:
    """What was found wrong with a submission."""
    variables = {
        "findings": assignment.findings[number],
        "left": limits.repairs - number - 1,
    }
    return _stored(assignment, "repair", variables, f"repair-{number + 1}")


def templates(number: int) -> list[Example]:
    """The tier's file templates."""
    tier = tiers.tier(number)
    files = sorted(tier.templates.glob("*.j2")) if tier.templates.is_dir() else []
    if files:
        files += [tier.folder.parent / "_common" / f"{name}.py.j2" for name in ("torch_op", "test")]
    return [Example(f"{file.parent.name}/{file.name}", file.read_text("utf-8")) for file in files]


def closest(assignment: Assignment) -> list[Example]:
    """The files of the library's op that is most like this one: of its tier, with a like spec."""
    root, profile = assignment.root, assignment.profile

    def likeness(op: str) -> tuple[bool, float]:
        text = (root / LIBRARY / op / "spec.py").read_text("utf-8", "replace")
        same = re.search(rf"\btier={profile.tier}\b", text) is not None
        return same, SequenceMatcher(None, assignment.reference.text, text).quick_ratio()

    others = [
        op
        for op in ops_in(root)
        if op != profile.op and _is_inside(root / LIBRARY / op / "spec.py", root)
    ]
    if not others:
        return []
    folder, test = op_paths(max(others, key=likeness))
    paths = [f"{folder}/spec.py", f"{folder}/kernel.py", f"{folder}/wrapper.py", test]
    return [
        Example(path, (root / path).read_text("utf-8", "replace")[:MOST_CHARACTERS])
        for path in paths
        if _is_inside(root / path, root)
    ]


def _is_inside(path: Path, root: Path) -> bool:
    """Whether it is a file of the worktree's, which one behind a link may not be."""
    return path.is_file() and path.resolve().is_relative_to(root.resolve())


def _stored(
    assignment: Assignment | Wanted | Revision | Patching,
    name: str,
    variables: dict[str, object],
    stored_as: str = "",
    workflow: str = WORKFLOW,
) -> str:
    """A prompt, rendered and kept with the run."""
    text = render(environment(asset("prompts")), f"{workflow}/{name}.j2", variables)
    path: Path = assignment.folder / "prompts" / f"{stored_as or name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text
