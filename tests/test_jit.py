"""A launch like one before is found by our own key, which tells apart what Triton does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given
from hypothesis import strategies as st
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from workbench_kernels import functional, jit


def _three(X, number, rate, FLAG: tl.constexpr, BLOCK: tl.constexpr = 64):  # type: ignore
    pass


class Launches:
    """A kernel whose compiler and GPU only write down what they are given."""

    def __init__(self) -> None:
        self.kernel: Any = jit._Kernel(_three, do_not_specialize=["number"])
        self.kernel.run = self._triton
        self.compiled: list[tuple[Any, ...]] = []
        self.found: list[tuple[Any, ...]] = []

    def _triton(self, *args: Any, grid: Any, warmup: bool, **constants: Any) -> Any:
        self.compiled.append((grid, *args))
        return SimpleNamespace(run=self._run, function="function", packed_metadata="metadata")

    def _run(self, *launch: Any) -> None:
        self.found.append(launch)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    driver = SimpleNamespace(get_current_device=lambda: 0, get_current_stream=lambda device: 77)
    monkeypatch.setattr(jit, "_DRIVER", SimpleNamespace(active=driver))
    return Launches()


X = torch.zeros(64)


def test_only_the_first_of_its_kind_is_compiled(launches: Launches) -> None:
    other = torch.ones(64)
    first = launches.kernel[(4,)](X, 100, 0.5, FLAG=True, num_warps=4)
    assert launches.kernel[(5, 6)](other, 200, 0.25, FLAG=True, num_warps=4) is first
    assert len(launches.compiled) == 1
    expected = 5, 6, 1, 77, "function", "metadata", None, None, None, other, 200, 0.25, True, 64
    (found,) = launches.found
    assert all(a is b or a == b for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "changed",
    [
        {"x": X.bfloat16()},
        {"x": X[1:]},
        {"x": None},
        {"number": 1},
        {"number": 96},
        {"number": 2**31},
        {"rate": 1},
        {"FLAG": False},
        {"BLOCK": 128},
        {"num_warps": 8},
    ],
    ids=str,
)
def test_another_kind_is_compiled(launches: Launches, changed: dict[str, Any]) -> None:
    def launch(x: Any = X, number: Any = 100, rate: Any = 0.5, **constants: Any) -> None:
        launches.kernel[(1,)](x, number, rate, **{"FLAG": True, "num_warps": 4} | constants)

    launch()
    launch(**changed)
    assert len(launches.compiled) == 2
    launch()
    assert len(launches.compiled) == 2


@pytest.mark.parametrize("which", ["launch_enter_hook", "launch_exit_hook"])
def test_a_profiler_sees_every_launch(
    launches: Launches, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    launches.kernel[(1,)](X, 100, 0.5, FLAG=True)
    launches.kernel[(1,)](X, 100, 0.5, FLAG=True)
    assert len(launches.compiled) == 1
    chain = getattr(triton.knobs.runtime, which)
    monkeypatch.setattr(chain, "calls", [print])
    launches.kernel[(1,)](X, 100, 0.5, FLAG=True)
    assert len(launches.compiled) == 2


def test_who_replaced_run_sees_every_launch(
    launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the judge does."""
    launches.kernel[(1,)](X, 100, 0.5, FLAG=True)
    monkeypatch.setattr(JITFunction, "run", lambda *args, **options: None)
    launches.kernel[(1,)](X, 100, 0.5, FLAG=True)
    assert len(launches.compiled) == 2


def test_what_the_key_does_not_tell_is_tritons(launches: Launches) -> None:
    launches.kernel.add_pre_run_hook(lambda *args, **options: None)
    launches.kernel[(1,)](X, 100, 0.5, FLAG=True)
    launches.kernel[(1,)](X, 100, 0.5, FLAG=True)
    launches.kernel.pre_run_hooks.clear()
    launches.kernel[lambda constants: (1,)](X, 100, 0.5, FLAG=True)
    launches.kernel[(1,)](X, number=100, rate=0.5, FLAG=True)
    launches.kernel[(1,)](X, number=100, rate=0.5, FLAG=True)
    launches.kernel[(1,)](X, 100, 0.5, True)
    launches.kernel[(1,)](X, 100, 0.5, False)
    launches.kernel[(1,)](X, 100, 0.5, FLAG=[])
    launches.kernel[(1,)]("text", 100, 0.5, FLAG=True)
    assert len(launches.compiled) == 9
    assert not launches.found


def test_in_the_interpreter_kernels_are_tritons() -> None:
    assert isinstance(jit.jit(_three), triton.runtime.interpreter.InterpretedFunction)
    assert jit.jit(do_not_specialize=["number"])(_three).kwargs["do_not_specialize"] == ["number"]


def test_every_op_asks_triton_once() -> None:
    script = Path(__file__).parent / "second_launches.py"
    done = subprocess.run(
        [sys.executable, script, *functional.ops()], capture_output=True, text=True, check=True
    )
    again = json.loads(done.stdout)
    assert again == {name: [] for name in functional.ops()}


MEMORY = {dtype: torch.zeros(64, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-40, 40),
    st.sampled_from([0, 1, 16, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63]),
)
ARGUMENTS = st.one_of(
    NUMBERS,
    st.booleans(),
    st.floats(),
    st.none(),
    st.builds(
        lambda dtype, start: MEMORY[dtype][start:],
        st.sampled_from(list(MEMORY)),
        st.integers(0, 16),
    ),
    st.lists(NUMBERS, max_size=3).map(tuple),
)


def _specialized(value: Any) -> Any:
    kernel = jit._Kernel(_three)
    bound = create_function_from_signature(kernel.signature, kernel.params, make_backend(TARGET))
    return bound(value, value, 0.0, False)[1][:2]


TARGET = GPUTarget("cuda", 90, 32)


@given(ARGUMENTS, ARGUMENTS)
def test_what_has_the_same_key_is_the_same_to_triton(one: Any, other: Any) -> None:
    try:
        same = jit._kinds((one,)) == jit._kinds((other,))
    except jit._Other:
        return
    if same:
        assert _specialized(one) == _specialized(other)
