"""Mutants are one wrong step from the candidate; its own tests notice them, and nothing else."""

from __future__ import annotations

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench
from workbench.authors.draft import DraftAuthor
from workbench.judge.mutants import KINDS, Mutant, mutants, neutral
from workbench.profile import analyze
from workbench.reference import find

RELU2 = Path(__file__).parent / "fixtures" / "relu2"
DRAFTED = ("swiglu_clamped", "rms_norm", "softmax")
EVERY = 10_000

# A candidate that no template wrote: other names, strides, a helper, an autograd function.
KERNEL = """\
import torch
import triton
import triton.language as tl


@triton.jit
def gate(u, slope):
    return u * tl.sigmoid(slope * u)  # é: columns are counted in bytes


@triton.jit
def fwd(out_ptr, x_ptr, label_ptr, stride_row, n_cols, slope, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    label = tl.load(label_ptr + row)
    picked = tl.load(x_ptr + row * stride_row + label).to(tl.float32)
    acc = tl.zeros([BLOCK], dtype=tl.float32)
    for i in range(0, tl.cdiv(n_cols, BLOCK)):
        cols = i * BLOCK + tl.arange(0, BLOCK)
        inside = cols < n_cols
        x = tl.load(x_ptr + row * stride_row + cols, mask=inside, other=0.0).to(tl.float32)
        x = tl.where(x > 3.0, 3.0, x)
        acc += gate(x, slope)
    total = tl.sum(acc, 0)
    tl.store(out_ptr + row, total / n_cols - picked)


@triton.jit
def bwd(dx_ptr, dy_ptr, x_ptr, n, BLOCK: tl.constexpr):
    offs = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    keep = offs < n
    x = tl.load(x_ptr + offs, keep)
    dy = tl.load(dy_ptr + offs, keep)
    tl.store(dx_ptr + offs, dy * tl.exp(x), keep)


class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, label, slope):
        out = torch.empty_like(x[:, 0])
        fwd[(x.shape[0],)](out, x, label, x.stride(0), x.shape[1], slope, BLOCK=64)
        ctx.save_for_backward(x)
        return out

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        bwd[(triton.cdiv(x.numel(), 64),)](dx, dy, x, x.numel(), BLOCK=64)
        return dx, None, None
"""
WRAPPER = """\
from workbench_kernels.odd.kernel import F


def odd(x, label, *, slope=0.5):
    if x.dim() != 2:
        raise ValueError("2d")
    return F.apply(x, label, slope)
"""
ODD = {"kernel.py": KERNEL, "wrapper.py": WRAPPER}

# Of each kind, a line of the candidate above and what one mutant makes of it.
CHANGED = [
    ("zero output", "total / n_cols - picked)", "((total / n_cols - picked) * 0.0))"),
    ("missing gradient", "dy * tl.exp(x), keep", "((dy * tl.exp(x)) * 0.0), keep"),
    ("missing gradient", "return dx,", 'return (__import__("torch").utils._pytree.tree_map_only('),
    ("doubled gradient", "dy * tl.exp(x), keep", "((dy * tl.exp(x)) * 2.0), keep"),
    ("sign", "dy * tl.exp(x), keep", "(-(dy * tl.exp(x))), keep"),
    ("sign", "n_cols - picked", "n_cols + picked"),
    ("dropped tail", "keep = offs < n", "keep = (offs < n - 1)"),
    ("dropped tail", "mask=inside,", "mask=(inside & (cols < n_cols - 1)),"),
    ("dropped tail", "triton.cdiv(x.numel(), 64)", "(x.numel() // 64)"),
    ("lower precision", "other=0.0).to(tl.float32)", "0.0).to(tl.bfloat16).to(tl.float32))"),
    ("lower precision", "acc += gate(", "acc = (acc + gate(x, slope)).to(tl.bfloat16)"),
    ("lower precision", "tl.sum(acc", "tl.sum((acc.to(tl.bfloat16).to(tl.float32))"),
    ("stride", "+ row * stride_row + cols", "(row * (stride_row - (stride_row > 0))) + cols"),
    ("swapped arguments", "total / n_cols", "(n_cols / total)"),
    ("swapped arguments", "3.0, 3.0, x)", "3.0, x, 3.0))"),
    ("comparison", "x > 3.0", "(x < 3.0)"),
    ("ignored parameter", "label, slope)", "label, (0.5))"),
    ("constant", "3.0, 3.0, x", "3.0, (0.0), x"),
    ("dropped function", "dy * tl.exp(x)", "dy * (x)"),
    ("missing step", "acc += gate(", "acc = gate("),
    ("missing step", "u * tl.sigmoid(", "return (u)"),
    ("wrong reduction", "tl.sum(acc, 0)", "(tl.max)(acc, 0)"),
    ("wrong reduction", "total / n_cols", "total / (n_cols * 2)"),
    ("dropped refusal", "if x.dim() != 2:", "    pass"),
]


@cache
def candidate(name: str) -> dict[str, str]:
    """The files of the fixture, of the candidate above, or of a drafted op."""
    if name == "odd":
        return ODD
    if name == "relu2":
        return {file: (RELU2 / file).read_text() for file in ("kernel.py", "wrapper.py")}
    reference = find(name)
    files = DraftAuthor().render(analyze(reference, name), reference)
    return {p.name: text for p, text in files.items() if p.name in ("kernel.py", "wrapper.py")}


@cache
def all_mutants(name: str) -> list[Mutant]:
    return mutants(candidate(name), most=EVERY)


def changed_lines(name: str, mutant: Mutant) -> tuple[str, str]:
    """The lines a mutant takes out of its file, and those it puts in."""
    before, after = candidate(name)[mutant.file].splitlines(), mutant.source.splitlines()
    diff = [d for d in difflib.unified_diff(before, after, n=0) if d[:3] not in ("---", "+++")]
    out, put_in = ("\n".join(d[1:] for d in diff if d[0] == sign) for sign in "-+")
    return out, put_in


EVERYONE = pytest.mark.parametrize("name", ["relu2", "odd", *DRAFTED])


@EVERYONE
def test_every_mutant_is_another_program(name: str) -> None:
    files = candidate(name)
    found = all_mutants(name)
    assert len({m.name for m in found}) == len(found) > 20
    assert len({(m.file, m.source) for m in found}) == len(found)
    for mutant in found:
        tree = ast.parse(mutant.source)
        compile(tree, mutant.file, "exec")
        assert ast.dump(tree) != ast.dump(ast.parse(files[mutant.file])), mutant.name
        assert mutant.kind in KINDS and mutant.description
        old, _ = changed_lines(name, mutant)
        lines = files[mutant.file].splitlines()
        assert lines[mutant.line - 1] in old, mutant.name


@EVERYONE
def test_twenty_show_every_kind_and_every_kernel(name: str) -> None:
    chosen = mutants(candidate(name))
    assert len(chosen) == 20
    assert {m.kind for m in chosen} == {m.kind for m in all_mutants(name)}
    lines = {m.line for m in chosen if m.file == "kernel.py"}
    for node in ast.parse(candidate(name)["kernel.py"]).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            assert lines & {*range(node.lineno, (node.end_lineno or 0) + 1)}, node.name


@settings(deadline=None, max_examples=15)
@given(most=st.integers(0, 120))
def test_fewer_are_the_first_of_more(most: int) -> None:
    chosen = mutants(candidate("rms_norm"), most=most)
    assert chosen == all_mutants("rms_norm")[:most]


@pytest.mark.parametrize(("kind", "old", "new"), CHANGED)
def test_each_kind_changes_what_it_says(kind: str, old: str, new: str) -> None:
    changes = [changed_lines("odd", m) for m in all_mutants("odd") if m.kind == kind]
    assert any(old in before and new in after for before, after in changes), changes


def test_all_kinds_have_an_example() -> None:
    assert {kind for kind, *_ in CHANGED} == set(KINDS)


def test_places_stay_inside_the_tensors() -> None:
    """What says where to read is changed only by the two kinds that make it smaller."""
    smaller = ("stride", "dropped tail", "lower precision")
    for mutant in all_mutants("odd"):
        _, after = changed_lines("odd", mutant)
        if "label_ptr +" in after or "stride_row" in after:
            assert mutant.kind in (*smaller, "ignored parameter"), mutant


def test_changes_that_ordinary_values_hide_are_left_out() -> None:
    softmax = [(m.kind, *changed_lines("softmax", m)) for m in all_mutants("softmax")]
    # Any shift gives the same softmax, and a guard against infinities is never needed.
    assert not [
        after for kind, _, after in softmax if kind == "sign" and "input + row_max" in after
    ]
    assert not [old for kind, old, _ in softmax if "comparison" in kind and 'float("-inf")' in old]
    squares = KERNEL.replace("dy * tl.exp(x)", "tl.abs(dy - x)")
    found = mutants({**ODD, "kernel.py": squares}, most=EVERY)
    assert not [m for m in found if m.kind == "swapped arguments" and "x - dy" in m.source]


def test_gradients_are_told_from_results() -> None:
    for mutant in all_mutants("rms_norm"):
        before, _ = changed_lines("rms_norm", mutant)
        if mutant.kind == "zero output":
            assert "tl.store(Y" in before or "tl.store(RSTD" in before
        if mutant.kind == "doubled gradient" and "store" in mutant.description:
            assert "D" in mutant.description.split("stored to ")[1]


def test_none_is_no_gradient_to_change() -> None:
    early = "        if dy is None:\n            return None, None, None\n        (x,) = ctx.saved"
    changed = KERNEL.replace("        (x,) = ctx.saved", early)
    found = mutants({**ODD, "kernel.py": changed}, most=EVERY)
    assert any(m.kind == "doubled gradient" for m in found)
    assert not [m for m in found if "(None, None, None)" in m.description]


def test_numbers_of_a_helper_are_no_gradients() -> None:
    helper = """
def _share_backward(n: int) -> {declared}:
    half = n // 2
    return half, n - half
"""
    for declared, kinds in (("tuple[int, int]", 0), ("tuple[Tensor, Tensor]", 2)):
        text = KERNEL + helper.format(declared=declared)
        found = mutants({**ODD, "kernel.py": text}, most=EVERY)
        assert len([m for m in found if m.description.startswith("half is returned")]) == kinds


def test_a_candidate_without_kernels_has_few_mutants() -> None:
    assert mutants({"kernel.py": "import torch\n", "wrapper.py": "x = 1\n"}) == []


@EVERYONE
def test_neutral_has_other_words_and_the_same_interface(name: str) -> None:
    for file, source in candidate(name).items():
        other = neutral({file: source})[file]
        before, after = ast.parse(source), ast.parse(other)
        assert [getattr(n, "name", "") for n in before.body] == [
            getattr(n, "name", "") for n in after.body
        ]
        functions = [
            [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
            for tree in (before, after)
        ]
        for old, new in zip(*functions, strict=True):
            assert ast.dump(old.args) == ast.dump(new.args)
            assert old.lineno != new.lineno
        assert "#" not in other


def test_neutral_renames_only_what_is_local() -> None:
    source = (
        "import torch\nG = 1\n\n\ndef f(a, *, b=2):\n    global G\n    c = a + b\n    G = c\n"
        "    parts = [torch.f(d, b=c) for d in a if d]\n    g = lambda a: a + c\n"
        "    return parts, g, print\n"
    )
    expected = (
        "def f(a, *, b=2):\n    pass\n    global G\n    c_ = a + b\n    G = c_\n"
        "    parts_ = [torch.f(d_, b=c_) for d_ in a if d_]\n    g_ = lambda a: a + c_\n"
        "    return (parts_, g_, print)"
    )
    assert expected in neutral({"kernel.py": source})["kernel.py"]


# Runs each folder's tests in a fork of one process that imported everything; says how they ended.
WARM = """
import json, os, sys
from pathlib import Path
import pytest
from workbench.worker.__main__ import warm_up
warm_up(interpreted=True)
import workbench_kernels
results, running = {}, {}
def reap():
    pid, status = os.wait()
    results[running.pop(pid)] = os.waitstatus_to_exitcode(status)
for folder in sorted(Path(sys.argv[1]).iterdir()):
    if len(running) == 2:
        reap()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT), 1)
        workbench_kernels.__path__.insert(0, str(folder))
        options = ["-c", str(folder / "pytest.ini"), "--noconftest", "-p", "no:cacheprovider"]
        options += ["-x", "--assert=plain", str(folder / "test_relu2.py")]
        os._exit(int(pytest.main(options)))
    running[pid] = folder.name
while running:
    reap()
print(json.dumps(results))
"""
FORWARD_ONLY = """
import torch
from workbench_kernels import testing
from workbench_kernels.relu2.spec import SPEC
from workbench_kernels.relu2.wrapper import relu2


def test_forward():
    (x,) = testing.draw(SPEC, 3, 100, torch.float32)
    torch.testing.assert_close(relu2(x), torch.relu(x).square())
"""
READS_THE_TEXT = """
import inspect
from workbench_kernels.relu2 import kernel


def test_text():
    assert "relu = tl.where(x < 0.0, 0.0, x)" in inspect.getsource(kernel)
"""


def lay_out(root: Path, name: str, sources: dict[str, str], tests: str) -> None:
    folder = root / name
    shutil.copytree(RELU2, folder / "relu2", ignore=shutil.ignore_patterns("tests_*"))
    for file, text in sources.items():
        (folder / "relu2" / file).write_text(text)
    (folder / "test_relu2.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\n")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How each version of relu2 fared, by name: the exit code of its tests."""
    root = tmp_path_factory.mktemp("versions")
    own, files = (RELU2 / "tests_of_relu2.py").read_text(), candidate("relu2")
    for mutant in mutants(files):
        lay_out(root, mutant.name, {mutant.file: mutant.source}, own)
        if mutant.kind in ("missing gradient", "zero output"):
            lay_out(
                root, f"forward only: {mutant.name}", {mutant.file: mutant.source}, FORWARD_ONLY
            )
    lay_out(root, "neutral", neutral(files), own)
    lay_out(root, "original, text", files, READS_THE_TEXT)
    lay_out(root, "neutral, text", neutral(files), READS_THE_TEXT)
    engine = Path(workbench.__file__).parent.parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(engine), str(engine / "kernels")]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TRITON_INTERPRET": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", WARM, str(root)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    results: dict[str, int] = json.loads(run.stdout)
    return results


def test_its_own_tests_kill_every_mutant_of_relu2(ended: dict[str, int]) -> None:
    assert [m.name for m in mutants(candidate("relu2")) if ended[m.name] != 1] == []


def test_behaviour_can_not_tell_the_neutral_version(ended: dict[str, int]) -> None:
    assert ended["neutral"] == 0
    assert ended["original, text"] == 0
    assert ended["neutral, text"] == 1


def test_a_suite_without_gradients_lets_wrong_ones_live(ended: dict[str, int]) -> None:
    forward_only = {name: code for name, code in ended.items() if name.startswith("forward only")}
    for name, code in forward_only.items():
        assert code == (1 if "zero-output" in name else 0), name
    assert len(forward_only) >= 3


def test_a_mutant_needs_no_import_of_the_file() -> None:
    """It has wrong gradients; stumbling over a name would say nothing of the tests."""
    text = "def backward(dy, needs):\n    return [dy, None]\n\nb = op.define('b', backward)\n"
    made = mutants({"kernel.py": text, "wrapper.py": ""}, most=99)
    gradients = [m for m in made if m.name.startswith(("missing-gradient", "doubled-gradient"))]
    assert len(gradients) == 2
    for mutant in gradients:
        scope: dict[str, Any] = {"op": SimpleNamespace(define=lambda *_: None)}
        exec(mutant.source, scope)
        dy, nothing = scope["backward"](torch.ones(2), [True, True])
        assert nothing is None and not torch.equal(dy, torch.ones(2))
