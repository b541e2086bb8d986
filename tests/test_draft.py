"""The draft author: what it writes reads well and computes the reference; the rest it refuses."""

from __future__ import annotations

import importlib
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

import workbench_kernels
from workbench.assets import asset
from workbench.authors.draft import DraftAuthor
from workbench.authors.templates import environment, render
from workbench.errors import AuthorError, TemplateError
from workbench.profile import analyze
from workbench.reference import Reference, find, load
from workbench_kernels import testing

_serial = itertools.count()


def draft(reference: Reference, op: str) -> dict[str, str]:
    files = DraftAuthor().render(analyze(reference, op), reference)
    return {path.name: text for path, text in files.items()}


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Path]:
    """A folder whose ops are importable as `workbench_kernels.<op>`."""
    workbench_kernels.__path__.append(str(tmp_path))
    yield tmp_path
    workbench_kernels.__path__.remove(str(tmp_path))


def written(library: Path, reference: Reference) -> tuple[ModuleType, ModuleType]:
    """The spec and wrapper modules of a drafted op, imported under a name no other test uses."""
    op = f"drafted_{next(_serial)}"
    files = draft(reference, op)
    (library / op).mkdir()
    for name in ("spec.py", "kernel.py", "wrapper.py"):
        (library / op / name).write_text(files[name])
    spec = importlib.import_module(f"workbench_kernels.{op}.spec")
    wrapper = importlib.import_module(f"workbench_kernels.{op}.wrapper")
    return spec, wrapper


def check(library: Path, reference: Reference, shapes: list[tuple[int, int]]) -> None:
    spec_module, wrapper = written(library, reference)
    spec = spec_module.SPEC
    function = getattr(wrapper, spec.name)
    for case in testing.cases(spec):
        if (case.rows, case.cols) in shapes or case.parameters:
            testing.check_case(spec, function, case)


def test_relu2_reads_as_if_written_by_hand() -> None:
    kernel = draft(find("relu2"), "relu2")["kernel.py"]
    assert "    y    = relu²\n" in kernel
    assert "    dx = (0 if x ≤ 0 else 2 · x · dy)\n" in kernel
    body = kernel.split("def _relu2_bwd")[1].split("\n\n")[0]
    assert "    dx = tl.where(x <= 0.0, 0.0, 2.0 * x * dy)\n" in body
    assert body.count("\n") == 6


def test_drafts_are_the_same_every_time() -> None:
    assert draft(find("layer_norm"), "layer_norm") == draft(find("layer_norm"), "layer_norm")


# References no template was made for, each with what it stresses.
UNSEEN = {
    "two parameters": "def f(x, a: float = 1.3, b: float = 0.2):\n"
    "    return torch.where(x > b, x, a * torch.expm1((x - b) / a) + b)",
    "gated pair, clamped": "def f(gate, up, limit: float = 1.5):\n"
    "    return torch.tanh(gate.clamp(-limit, limit)) * up.clamp(max=limit)",
    "three inputs": "def f(a, b, c):\n    return a * torch.sigmoid(b) - c.square() * b",
    "norm without weight": "def f(x, eps: float = 1e-5):\n"
    "    c = x - x.mean(-1, keepdim=True)\n    return c / (c.pow(4).mean(-1, keepdim=True) + eps)",
    "row entropy at a temperature": "def f(x, t: float = 0.7):\n"
    "    p = torch.softmax(x / t, -1)\n    return -(p * torch.log_softmax(x / t, -1)).sum(-1)",
    "cosine of rows": "def f(a, b):\n    return F.cosine_similarity(a, b, dim=-1)",
    "two outputs": "def f(x, y):\n    s = x + y\n"
    "    return s * torch.rsqrt(s.square().mean(-1, keepdim=True) + 1e-6), s",
    "names the kernel uses": "def f(mask, offsets, n: float = 0.5):\n"
    "    return mask * offsets + n * mask",
    "per-column and scalar weights": "def f(x, w, b, s):\n    return torch.tanh(s * x) * w + b\n"
    "def f_inputs(rows, cols):\n"
    "    return torch.randn(rows, cols), torch.randn(cols), torch.randn(cols), torch.tensor(0.7)",
    "a value per row": "def f(x, t):\n    return torch.softmax(x * t, -1)\n"
    "def f_inputs(rows, cols):\n    return torch.randn(rows, cols), torch.rand(rows, 1) + 0.5",
    "mean of everything": "def f(x, y):\n    return F.mse_loss(x, y)",
    "median of clamps": "def f(x, lo: float = -0.5, hi: float = 0.5):\n"
    "    return torch.minimum(torch.maximum(x, x * lo), x * hi + 1).abs()",
}


@pytest.mark.parametrize("what", UNSEEN)
def test_references_it_has_never_seen(what: str, library: Path, tmp_path: Path) -> None:
    file = tmp_path / "unseen.py"
    file.write_text(f"import torch\nimport torch.nn.functional as F\n{UNSEEN[what]}\n")
    small = [(1, 1), (3, 17), (5, 2), (5, 127), (3, 31), (64, 64), (4, 100)]
    check(library, load(f"{file}:f"), small)


@pytest.mark.parametrize("name", ["softmax", "entropy", "standardize", "l1_normalize"])
def test_rows_too_wide_to_hold(name: str, library: Path) -> None:
    spec_module, wrapper = written(library, find(name))
    spec = spec_module.SPEC
    for dtype in (torch.float32, torch.bfloat16):
        case = testing.Case(2, 16385, dtype)
        testing.check_case(spec, getattr(wrapper, spec.name), case)


def test_wide_rows_keep_nans_and_infinities(library: Path) -> None:
    spec_module, wrapper = written(library, find("logsumexp"))
    x = torch.randn(4, 20000)
    x[0, 12345], x[1, 12345], x[2] = float("nan"), float("inf"), float("-inf")
    got = getattr(wrapper, spec_module.SPEC.name)(x.to(testing.device()))
    torch.testing.assert_close(got.cpu(), torch.logsumexp(x, -1), equal_nan=True)


def test_tier_three_is_refused_by_its_node(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text("import torch\ndef f(x):\n    return x.cumsum(-1)\n")
    with pytest.raises(AuthorError, match=r"forward node cumsum = aten\.cumsum\.default"):
        draft(load(f"{file}:f"), "f")


def test_an_unknown_function_is_refused_by_its_node(tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text("import torch\ndef f(x):\n    return torch.special.bessel_j0(x) + x\n")
    with pytest.raises(AuthorError, match="bessel"):
        draft(load(f"{file}:f"), "f")


def test_a_template_that_lacks_a_variable_says_which(tmp_path: Path) -> None:
    shutil.copytree(asset("tiers"), tmp_path / "tiers")
    (tmp_path / "tiers/_common/broken.py.j2").write_text("{{ op }} {{ flavour }}\n")
    with pytest.raises(TemplateError, match="'flavour' is undefined"):
        render(environment(tmp_path / "tiers"), "_common/broken.py.j2", {"op": None})


def divergence(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The distance of rows, in float32 whatever they are, and their mean, which is as they are."""
    return (x.float() - y.float()).square().sum(-1), (x + y).mean(-1)


def double_width(x: torch.Tensor) -> torch.Tensor:
    """Every element in float32."""
    return x.float().sin()


def two(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols)


def test_a_loss_stays_in_float32(library: Path) -> None:
    """As its reference gives it: of a loss in bfloat16 little would be left."""
    reference = replace(find("relu2"), name="divergence", symbol="divergence", function=divergence)
    reference = replace(reference, inputs=two, tensors=("x", "y"), parameters={})
    files = draft(reference, "divergence")
    said = "Returns out0: one value per row, float32 and out1: one value per row; dtype of x."
    assert said in files["wrapper.py"]
    assert files["kernel.py"].count("dtype=torch.float32") == 2  # made, and its fake
    wide = replace(reference, symbol="double_width", function=double_width, tensors=("x",))
    with pytest.raises(AuthorError, match="y is float32 whatever the inputs are"):
        draft(replace(wide, inputs=lambda rows, cols: two(rows, cols)[:1]), "double_width")


def test_a_draft_is_in_the_projects_style(tmp_path: Path) -> None:
    """What is approved is committed as it is, so CI's linter must have nothing to say of it."""
    for op in ("relu2", "swiglu", "rms_norm", "layer_norm", "softmax"):
        for name, text in draft(find(op), op).items():
            (tmp_path / op).mkdir(exist_ok=True)
            (tmp_path / op / name).write_text(text)
    config = Path(__file__).resolve().parents[1] / "pyproject.toml"
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", config, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
