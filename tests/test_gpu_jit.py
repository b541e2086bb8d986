"""On a GPU: launches found by our own key compute what Triton's launches do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.jit import jit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]


@jit(do_not_specialize=["n"])
def _scaled(Y, X, steps, factor, n, ADDED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(X + at * steps[0], mask=at < n)
    y = x * factor + ADDED * steps[1]
    tl.store(Y + at, y.to(Y.dtype.element_ty), mask=at < n)


def check(x: Tensor, step: int, factor: Any, added: int) -> None:
    n = x.numel() // step
    y = torch.full((n + 16,), 7.0, device=x.device, dtype=x.dtype)
    _scaled[(triton.cdiv(n, 64),)](y, x, (step, 2), factor, n, ADDED=added, BLOCK=64, num_warps=1)
    expected = (x[::step][:n].float() * factor + 2 * added).to(x.dtype)
    torch.testing.assert_close(y[:n], expected)
    assert (y[n:] == 7).all()


def memories() -> Iterator[Tensor]:
    for dtype in (torch.float32, torch.bfloat16):
        memory = torch.randn(1000, device="cuda", dtype=dtype)
        yield from (memory, memory[1:], memory[16:], memory[:1], memory[3:20])


def test_whatever_it_is_given_in_turn() -> None:
    """Twice, so that all are found that can be."""
    for _ in range(2):
        for x in memories():
            for step in (1, 2, 16):
                for factor in (1, 3, 16, 2**33, 0.5, True):
                    check(x, step, factor, 1)
            check(x, 1, 0.5, 4)


def test_it_is_found_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1000, device="cuda")
    check(x, 1, 0.5, 2)

    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("Triton was asked")

    monkeypatch.setattr(_scaled, "run", refuse)
    check(x, 1, 0.25, 2)
    check(x[16:500], 1, 3.0, 2)
    with pytest.raises(AssertionError, match="Triton was asked"):
        check(x[1:], 1, 0.5, 2)


def test_a_profiler_sees_it() -> None:
    seen = []
    x = torch.randn(1000, device="cuda")
    check(x, 1, 0.5, 3)

    def note(metadata: Any) -> None:
        seen.append(metadata.get()["name"])

    triton.knobs.runtime.launch_enter_hook.add(note)
    try:
        check(x, 1, 0.5, 3)
    finally:
        triton.knobs.runtime.launch_enter_hook.remove(note)
    check(x, 1, 0.5, 3)
    assert seen == ["_scaled"]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU here")
def test_on_each_gpu_its_own() -> None:
    for device in (0, 1, 0, 1):
        with torch.cuda.device(device):
            check(torch.randn(1000, device="cuda"), 1, 0.5, 5)
