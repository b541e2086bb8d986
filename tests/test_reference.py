"""References by name and from files: what they are, what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from workbench.errors import BadReference, UnknownOpError
from workbench.reference import Reference, find, load
from workbench.soundness import check
from workbench.tiers import known, tier

Given = Callable[[str], Reference]


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """Loads `f` from a file of that text, torch imported on its first line."""

    def write_and_load(text: str) -> Reference:
        (tmp_path / "given.py").write_text("import torch\n" + dedent(text).lstrip())
        return load(f"{tmp_path}/given.py:f")

    return write_and_load


# The catalogues


@pytest.mark.parametrize("name", sorted(known()))
def test_every_catalogue_reference_is_sound(name: str) -> None:
    reference = find(name)
    assert reference.formula.startswith(("y = ", "yⱼ = "))
    check(reference)


@pytest.mark.parametrize("name", [*tier(1).references, *tier(2).references])
def test_results_are_elements_or_rows_in_the_inputs_dtype(name: str) -> None:
    reference = find(name)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        drawn = reference.inputs(3, 17)
        tensors = [t.to(dtype).requires_grad_() if t.is_floating_point() else t for t in drawn]
        result = reference.call(tensors)
        for out in result if isinstance(result, tuple) else (result,):
            assert out.dtype == dtype
            assert out.requires_grad
            assert out.shape == (3, 17) or (name in tier(2).references and out.shape == (3,))
            assert out.isfinite().all()


def test_parameters_change_the_result() -> None:
    swish = find("swish")
    assert swish.tensors == ("x",)
    assert swish.parameters == {"beta": 1.702}
    x = torch.tensor([2.0])
    assert swish.call([x]) == x * torch.sigmoid(1.702 * x)
    assert swish.call([x], {"beta": 0.0}) == 1.0


def test_unknown_name_offers_the_nearest_and_the_flag() -> None:
    with pytest.raises(UnknownOpError, match="'rmsnorm'; near it: rms_norm") as caught:
        find("rmsnorm")
    assert "--reference FILE.py:FUNCTION" in caught.value.hint
    with pytest.raises(UnknownOpError, match=r"^no reference is named 'qqq'$"):
        find("qqq")


def test_a_name_is_looked_up_in_the_tiers_given() -> None:
    assert find("softmax", [tier(2)]).origin == "catalogue: reduction"
    with pytest.raises(UnknownOpError):
        find("softmax", [tier(1)])


# A user's file


def test_what_a_loaded_reference_says_of_itself(given: Given) -> None:
    reference = given('''
        def f(x, gate, slope: float = 0.1, floor: float = 0, mode: str = "a", dim=-1, out=None):
            """y = gate·x, nearly.

            With more words."""
            return torch.where(x > floor, x, slope * x) * gate
        ''')
    assert reference.tensors == ("x", "gate")
    assert reference.parameters == {"slope": 0.1, "floor": 0.0}
    assert reference.formula == "y = gate·x, nearly"
    assert reference.origin.endswith("given.py:f")
    assert [t.shape for t in reference.inputs(2, 3)] == [(2, 3), (2, 3)]
    check(reference)


def test_loading_leaves_no_traces(given: Given, tmp_path: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    given("def f(x): return x + 1")
    assert (sys.path, set(sys.modules)) == (path, modules)
    assert [entry.name for entry in tmp_path.iterdir()] == ["given.py"]


@pytest.mark.parametrize("result", ["x", "(x,)", "[x]"])
def test_inputs_may_be_a_tensor_a_tuple_or_a_list(given: Given, result: str) -> None:
    reference = given(f"""
        def f(x): return torch.log(x)
        def inputs(rows, cols):
            x = 1 + torch.rand(rows, cols)
            return {result}
        """)
    (x,) = reference.inputs(3, 4)
    assert x.shape == (3, 4)
    assert x.min() >= 1
    assert "def inputs" in reference.inputs_source
    check(reference)


def test_a_record_outlives_the_file(given: Given, tmp_path: Path) -> None:
    reference = given("K = 3.0\ndef f(x, alpha: float = 2.0): return K * alpha * x")
    record = json.loads(json.dumps(reference.to_record()))
    (tmp_path / "given.py").unlink()
    rebuilt = Reference.from_record(record)
    x = torch.ones(2)
    assert rebuilt.call([x]).tolist() == [6.0, 6.0]
    same = {"function": None, "inputs": None, "file": ""}
    assert dataclasses.replace(rebuilt, **same) == dataclasses.replace(reference, **same)


def test_a_file_that_only_runs_as_a_script_is_not_run(given: Given) -> None:
    given("def f(x): return 2 * x\nif __name__ == '__main__':\n    raise SystemExit(1)")


@pytest.mark.parametrize("target", ["relu2", "file.py", "file.py:", "file.py:a b", "file.txt:f"])
def test_form_of_the_target(target: str) -> None:
    with pytest.raises(BadReference, match=r"isn't of the form FILE\.py:FUNCTION"):
        load(target)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def g(x): return x", "has no function 'f'"),
        ("class f: ...", "f is a class, not a function"),
        ("f = 3.0", "f is a float, not a function"),
        ("def f(*xs): return xs[0]", "takes 'xs' of any number"),
        ("def f(x, /): return x", "argument x has no name for callers"),
        ("def f(x, **options): return x", "takes 'options' of any number"),
        ("def f(x, alpha: float): return x", "its argument alpha has no default"),
        ("def f(x, *, alpha): return x", "its argument alpha has no default"),
        ("def f(x, w=torch.ones(3)): return x", "its argument w defaults to a Tensor"),
        ("def f(x, at=(1, 2)): return x", "its argument at defaults to a tuple"),
        ("def f(alpha=1.0): return alpha", "takes no tensor"),
        (
            "K = 1\nK / 0\ndef f(x): return x",
            r"given\.py:3: it doesn't import: ZeroDivisionError: div",
        ),
        ("import absent\ndef f(x): return x", r"given\.py:2: .*ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\ndef f(x): return x", r"given\.py:3: .*SystemExit: 3"),
    ],
)
def test_refused_when_loaded(given: Given, text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        given(text)


# Soundness


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(x):\n    return x @ x", r"given\.py:3: f doesn't run: RuntimeError"),
        ("def f(x): return x.sum().item()", "returns a float, not a tensor"),
        ("def f(x): return [x + 1]", "returns a list, not a tensor"),
        ("def f(x): print(end='')", "returns a NoneType"),
        ("def f(x): return ()", "returns nothing"),
        ("def f(x, y): return x + y.mul_(2)", "changes its argument y in place"),
        ("def f(x): return x.relu_() + 1", "changes its argument x in place"),
        ("def f(x): return x", "returns its argument x itself"),
        ("def f(x): return x.T", "returns its argument x itself, or a view"),
        ("def f(x): return x + torch.rand_like(x)", "gives another result when called again"),
        ("def f(x): return torch.dropout(x, 0.5, True)", "another result when called again"),
        ("def f(x): return torch.relu(x.detach())", "isn't differentiable"),
        ("def f(x): return x.argmax(-1)", "isn't differentiable"),
        ("@torch.no_grad()\ndef f(x): return 2 * x", "isn't differentiable"),
        ("def f(x): return x * x if x.dtype.itemsize > 2 else 1 / 0", "fails in bfloat16: ZeroDiv"),
    ],
)
def test_unsound(given: Given, text: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        check(given(text))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return ()", r"inputs\(4, 8\) returns 0 tensors"),
        ("return torch.ones(rows, cols), 1.0", "returns a float"),
        ("return None", "returns a NoneType"),
        ("return torch.ones(3, 17), torch.ones(3)", r"have the shapes \(3, 17\), \(3,\)"),
        ("return torch.ones(rows, cols) @ torch.ones(1), 0", "fails: RuntimeError"),
    ],
)
def test_unsound_inputs(given: Given, body: str, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        check(given(f"def f(x, y): return x + y\ndef inputs(rows, cols):\n    {body}"))


def test_an_error_in_the_backward_is_the_users_too(given: Given) -> None:
    text = """
        class Half(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return x / 2
            @staticmethod
            def backward(ctx, dy): return dy @ dy
        def f(x): return Half.apply(x)
        """
    with pytest.raises(BadReference, match="f fails in float32: RuntimeError"):
        check(given(text))


@pytest.mark.parametrize(
    "text",
    [
        "TABLE = []\nTABLE.append(3.0)\ndef f(x): return x * sum(TABLE)",
        "def f(x): return x * f.scale\nf.scale = 2.0",
    ],
)
def test_state_outside_the_text_is_refused(given: Given, text: str) -> None:
    with pytest.raises(BadReference, match="alone") as caught:
        check(given(text))
    assert "stands alone" in caught.value.hint


def test_nan_and_results_per_row_are_sound(given: Given) -> None:
    check(given("def f(x): return torch.log(x).sum(-1), x.std(-1, keepdim=True)"))


def test_checking_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check(find("lerp"))
    assert torch.rand(1) == expected
