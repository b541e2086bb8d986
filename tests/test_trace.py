"""Tracing: symbolic sizes, parameters found again in the graphs' constants, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import sympy

from workbench.errors import BadReference
from workbench.graph import Kind
from workbench.lower import lower
from workbench.reference import Reference, load
from workbench.trace import trace


def reference(tmp_path: Path, body: str, name: str = "f") -> Reference:
    file = tmp_path / "reference.py"
    file.write_text(
        "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor\n" + body
    )
    return load(f"{file}:{name}")


def test_sizes_stay_symbols(tmp_path: Path) -> None:
    f = reference(tmp_path, "def f(x: Tensor) -> Tensor:\n    return x * x.shape[-1] ** 0.5\n")
    constants = [
        value.expression for value in lower(trace(f)).forward.values() if value.op == "constant"
    ]
    assert constants == [sympy.sqrt(sympy.Symbol("n_cols", integer=True, positive=True))]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("x * (1 - a)", "1 - a"),
        ("x * (a * b)", "a*b"),
        ("x / a", "a"),
        ("F.softplus(x, beta=a)", "a"),
        ("x * (a - 2 * b + 3)", "a - 2*b + 3"),
        ("x * (b / a ** 2)", "b/a**2"),
    ],
)
def test_parameters_are_found_in_the_constants(
    tmp_path: Path, expression: str, expected: str
) -> None:
    body = (
        f"def f(x: Tensor, a: float = 1.5, b: float = 0.25) -> Tensor:\n    return {expression}\n"
    )
    fitted = trace(reference(tmp_path, body)).fitted["forward"].values()
    assert expected in {str(e) for e in fitted}


def test_a_constant_no_fit_explains_is_refused(tmp_path: Path) -> None:
    body = "import math\ndef f(x: Tensor, a: float = 1.5) -> Tensor:\n    return x * math.tanh(a)\n"
    with pytest.raises(BadReference, match="depends on a in a way that isn't understood"):
        trace(reference(tmp_path, body))


def test_a_branch_on_values_is_refused(tmp_path: Path) -> None:
    body = "def f(x: Tensor) -> Tensor:\n    return x if x.sum() > 0 else -x\n"
    with pytest.raises(BadReference, match="can't be traced"):
        trace(reference(tmp_path, body))


def test_kinds_follow_the_shapes(tmp_path: Path) -> None:
    body = (
        "def f(x: Tensor, weight: Tensor, gain: Tensor) -> Tensor:\n"
        "    return x / x.sum(-1, keepdim=True) * weight * gain\n"
        "def f_inputs(rows, cols):\n"
        "    return torch.rand(rows, cols) + 1, torch.randn(cols), torch.tensor(2.0)\n"
    )
    kinds = {v.name: v.kind for v in lower(trace(reference(tmp_path, body))).forward.inputs}
    assert kinds == {"x": Kind.ELEMENT, "weight": Kind.COLUMN, "gain": Kind.SCALAR}


def test_full_size_intermediates_are_recomputed_not_saved(tmp_path: Path) -> None:
    f = reference(tmp_path, "def f(x: Tensor) -> Tensor:\n    return x.amax(-1)\n")
    lowered = lower(trace(f))
    assert lowered.backward is not None
    assert lowered.saved == ("row_max",)
    assert [v.name for v in lowered.backward.inputs] == ["dy", "row_max", "x"]
