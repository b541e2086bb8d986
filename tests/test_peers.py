"""Which other packages' functions are timed beside an op, and what they are given."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import torch

from workbench import tiers
from workbench.assets import asset
from workbench.bench import peers as peers_module
from workbench.bench.peers import peers
from workbench.errors import TemplateError
from workbench.reference import find
from workbench_kernels.spec import OpSpec, Traffic

NAMED = [
    (package, op)
    for package, calls in tomllib.loads((asset("tiers") / "peers.toml").read_text()).items()
    for op in calls
]


def spec(name: str, tensors: tuple[str, ...], parameters: dict[str, float]) -> OpSpec:
    return OpSpec(
        name=name,
        tier=1,
        reference=lambda *tensors: tensors[0],
        inputs=lambda rows, cols: (torch.randn(rows, cols),),
        tensors=tensors,
        differentiable=tensors[:1],
        parameters=parameters,
        forward=Traffic(reads=1, writes=1),
        backward=Traffic(reads=1, writes=1),
        shapes=((2, 8),),
        sweep=((2, 8),),
    )


NORM = spec("norm", ("x", "weight"), {"eps": 1e-6})


def write(folder: Path, text: str) -> Path:
    (folder / "peers.toml").write_text(text)
    return folder / "peers.toml"


def test_only_what_is_installed_and_does_the_same(tmp_path: Path) -> None:
    calls = """\
[torch]
norm = "torch.nn.functional:group_norm(x, 1, weight, eps=eps, bias=None)"
other = "torch:relu(x)"

[no-such-package]
norm = "no_such_package:norm(x)"
"""
    (found,) = peers(NORM, write(tmp_path, calls))
    assert (found.how, found.call) == ("call", "torch.nn.functional:group_norm")
    assert found.arguments == {
        "positional": [{"tensor": "x"}, {"value": 1}, {"tensor": "weight"}],
        "keywords": {"eps": {"value": 1e-6}, "bias": {"value": None}},
    }


@pytest.mark.parametrize(
    "text",
    [
        '[torch]\nnorm = "torch:f(x, gamma)"',
        '[torch]\nnorm = "torch:f"',
        '[torch]\nnorm = "torch:f("',
        '[torch]\nnorm = "torch:f(x + 1)"',
        "[torch",
    ],
)
def test_a_broken_file_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"peers\.toml"):
        peers(NORM, write(tmp_path, text))


@pytest.mark.parametrize(("package", "op"), NAMED)
def test_what_comes_with_the_workbench_fits_the_references(
    package: str, op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of these packages need be installed to know that the arguments are the op's."""
    monkeypatch.setattr(peers_module, "_version", lambda name: "1.0" if name == package else "")
    (found,) = peers(_described(op))
    assert found.name == f"{package} 1.0"


def _described(op: str) -> OpSpec:
    """What a catalogue says of an op, or the library."""
    if op in tiers.known():
        reference = find(op)
        return spec(op, reference.tensors, dict(reference.parameters))
    described: OpSpec = import_module(f"workbench_kernels.{op}.spec").SPEC
    return described
