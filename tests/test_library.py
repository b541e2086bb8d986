"""What the library promises of every op beside its values: under a checkpoint, under autocast,
compiled for many token counts, as a module that is saved and sharded.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from triton.runtime.interpreter import InterpretedFunction
from whole_library import COUNTS, OPS, alike, check_checkpoint, compilations, find, train_sharded

import workbench_kernels.functional
import workbench_kernels.nn
from workbench_kernels import testing, truth
from workbench_kernels.nn import module_name

HERE = Path(__file__).parents[1]
# Those that PyTorch has as functions. Its glu is another one, of a single tensor; 2.13 brought a
# linear_cross_entropy whose `weight` is that of the classes.
OTHERS = ("glu", "linear_cross_entropy")
PYTORCHS = tuple(name for name in OPS if hasattr(F, name) and name not in OTHERS)
# Its modules for them, where they are not called as ours.
MODULES = {"RmsNorm": "RMSNorm", "CrossEntropy": "CrossEntropyLoss", "KlDiv": "KLDivLoss"}


def test_a_call_by_name_reads_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """`functional.rms_norm(x)` asks for its name at every call of a training step."""
    first = workbench_kernels.functional.rms_norm
    monkeypatch.setattr(workbench_kernels.functional, "ops", lambda: pytest.fail("listed"))
    assert workbench_kernels.functional.rms_norm is first


def test_an_op_that_is_imported_anew_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workbench_kernels.functional.rms_norm
    changed = type(sys)("workbench_kernels.rms_norm.wrapper")
    changed.rms_norm = object()
    monkeypatch.setitem(sys.modules, changed.__name__, changed)
    assert workbench_kernels.functional.rms_norm is changed.rms_norm


def check_arguments(ours: Any, theirs: Any) -> None:
    """Assert that ours takes what it shares with PyTorch's by the same names, in the same places,
    with the same defaults, if it has any.
    """
    mine, known = (inspect.signature(what).parameters for what in (ours, theirs))
    shared = [name for name in known if name in mine]
    placed = [name for name, p in mine.items() if p.kind is not p.KEYWORD_ONLY]
    assert shared
    for name in shared:
        if name in placed:
            assert placed.index(name) == [*known].index(name), name
        if known[name].default not in (None, inspect.Parameter.empty):
            assert mine[name].default == known[name].default, name


def test_many_functions_are_pytorchs() -> None:
    losses = {"cross_entropy", "kl_div"}
    assert {*PYTORCHS} >= losses | {"layer_norm", "rms_norm", "group_norm", "softmax"}


@pytest.mark.parametrize("name", PYTORCHS)
def test_arguments_are_pytorchs(name: str) -> None:
    check_arguments(getattr(workbench_kernels.functional, name), getattr(F, name))
    module = module_name(name)
    theirs = getattr(torch.nn, MODULES.get(module, module))
    ours = getattr(workbench_kernels.nn, module)
    check_arguments(ours, theirs)
    check_arguments(ours.forward, theirs.forward)


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("name", OPS)
def test_under_a_checkpoint(name: str, use_reentrant: bool) -> None:
    check_checkpoint(find(name), use_reentrant=use_reentrant)


@pytest.mark.parametrize("name", OPS)
def test_under_autocast(name: str) -> None:
    """Products are of what autocast casts; all other ops give what they give without it."""
    op = find(name)
    inputs = [t.float() if t.is_floating_point() else t for t in op.draw()]
    upstream = op.upstream(inputs)
    narrow = [t.bfloat16() if t.is_floating_point() else t for t in inputs]
    wanted = op.step(narrow if op.spec.products else inputs, upstream)
    with torch.autocast(testing.device().type, torch.bfloat16):
        got = op.step(inputs, upstream)
    for grad in (name for name in wanted if name.startswith("d")):
        wanted[grad] = wanted[grad].float()  # leaves have gradients of their own dtype
    alike(op, got, wanted)


@pytest.mark.parametrize("name", OPS)
def test_outputs_may_be_changed_in_place(name: str) -> None:
    op = find(name)
    _, outputs = truth.call(op.spec, op.function, op.draw())
    for y in outputs:
        y.mul_(2)


@contextmanager
def without_launches() -> Iterator[None]:
    """Kernels do nothing: what is compiled doesn't hang on their results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpretedFunction, "run", lambda *_, **__: None)
        yield


@pytest.mark.parametrize("name", OPS)
def test_a_hundred_token_counts_are_compiled_twice(name: str) -> None:
    """For the first count, then for any."""
    assert compilations(find(name), [2 + count % 97 for count in COUNTS], without_launches) == 2


@pytest.fixture(scope="module")
def kernels() -> dict[str, list[str]]:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    path = os.pathsep.join(map(str, (HERE, HERE / "kernels", HERE / "tests")))
    command = [sys.executable, "-c", "import whole_library; whole_library.print_kernels()"]
    told = subprocess.run(
        command, env=environment | {"PYTHONPATH": path}, check=True, stdout=subprocess.PIPE
    )
    found: dict[str, list[str]] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize("name", OPS)
def test_a_hundred_token_counts_need_the_kernels_of_two(
    name: str, kernels: dict[str, list[str]]
) -> None:
    """Triton compiles a kernel for each dtype and constant, and for what a number or an address is
    divisible by: at no width that is timed does any of it follow from how many tokens there are.
    """
    assert not kernels[name]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return train_sharded(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", OPS)
def test_sharded_modules_learn_what_whole_ones_do(name: str, sharded: dict[str, list[str]]) -> None:
    assert not sharded[name], "\n".join(sharded[name])


@pytest.mark.parametrize("name", OPS)
def test_modules_are_what_they_save(name: str) -> None:
    op = find(name)
    inputs = op.draw()
    module, other = op.module(inputs), op.module(op.draw(seed=1))
    saved = module.state_dict()
    assert set(saved) <= set(op.spec.tensors)
    other.load_state_dict(saved)
    passed = op.passed(module, inputs)
    torch.testing.assert_close(other(**passed), module(**passed), rtol=0, atol=0, equal_nan=True)
