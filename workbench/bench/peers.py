"""Functions of other packages that do what an op does, of those packages that are installed.

Which they are is data: `tiers/peers.toml`.
"""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.assets import asset, read_toml
from workbench.bench.entrant import Rival
from workbench.errors import TemplateError
from workbench_kernels.spec import OpSpec


def peers(spec: OpSpec, file: Path | None = None) -> list[Rival]:
    """Who of `file` (by default the workbench's own) can be timed beside the op.

    Raises:
        TemplateError: the file is broken, or names an argument that the op does not have.
    """
    file = file or asset("tiers") / "peers.toml"
    found = []
    for package, calls in read_toml(file).items():
        version = _version(package)
        if version and spec.name in calls:
            call = calls[spec.name]
            try:
                found.append(_rival(f"{package} {version}", call, spec))
            except (SyntaxError, ValueError) as error:
                raise TemplateError(f"{file}: {package}.{spec.name}: {call!r}: {error}") from error
    return found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _rival(name: str, call: str, spec: OpSpec) -> Rival:
    module, _, expression = call.partition(":")
    tree = ast.parse(expression, mode="eval").body
    if not isinstance(tree, ast.Call):
        raise ValueError("is no call")
    positional = [_argument(node, spec) for node in tree.args]
    keywords = {str(k.arg): _argument(k.value, spec) for k in tree.keywords}
    place = f"{module}:{ast.unparse(tree.func)}"
    return Rival(name, "call", place, {"positional": positional, "keywords": keywords})


def _argument(node: ast.expr, spec: OpSpec) -> dict[str, Any]:
    """One of the op's tensors, or a value."""
    if not isinstance(node, ast.Name):
        return {"value": ast.literal_eval(node)}
    if node.id in spec.tensors:
        return {"tensor": node.id}
    if node.id in spec.parameters:
        return {"value": spec.parameters[node.id]}
    raise ValueError(f"the op has no {node.id}")
