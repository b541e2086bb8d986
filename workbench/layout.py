"""Where things lie in a repository with a kernel library. Paths only: neither git nor files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

LIBRARY = "kernels/workbench_kernels"
RECIPES = f"{LIBRARY}/patching/recipes"
EVIDENCE = "evidence.json"


@dataclass(frozen=True)
class Subject:
    """What a run is about: by its name, the folders and files that are its own, and where what was
    seen of them lies.
    """

    name: str
    paths: tuple[str, ...]
    evidence: str


def op_paths(op: str) -> tuple[str, str]:
    """Where an op lives below a repository's root: its folder and its test."""
    return f"{LIBRARY}/{op}", f"tests/kernels/test_{op}.py"


def evidence_path(op: str) -> str:
    """Where what the judge saw of an op lies. The engine writes it, and no one else."""
    return f"{LIBRARY}/{op}/{EVIDENCE}"


def op(name: str) -> Subject:
    """An op of the library."""
    return Subject(name, op_paths(name), evidence_path(name))


def recipe(model_type: str) -> Subject:
    """How models of a type are patched."""
    folder = f"{RECIPES}/{model_type}"
    return Subject(model_type, (folder,), f"{folder}/{EVIDENCE}")


def owner(name: str, paths: Iterable[str]) -> Subject:
    """What these files are of, which has this name."""
    return recipe(name) if any(path.startswith(f"{RECIPES}/") for path in paths) else op(name)


# By what a workflow says that it is about.
SUBJECTS: Mapping[str, Callable[[str], Subject]] = {"op": op, "recipe": recipe}
