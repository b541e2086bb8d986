"""Running the op many times on a GPU, over a pool of inputs; and which kernels the time went to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.worker.calls import Call

# More than the L2 cache of any GPU.
_L2_BYTES = 256 << 20
# Cycles a second of a fast GPU; on a slower one waiting takes longer.
_CYCLES = 2.0e9


def run(
    function: Callable[..., Any], pool: Sequence[Call], calls: int, *, backward: bool
) -> tuple[float, list[list[Tensor]]]:
    """`calls` calls, the pool's in turn: milliseconds by the device's events, from the first call's
    start to the last one's end, and the last results of each of the pool.
    """
    results: list[list[Tensor]] = [[] for _ in pool]
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    for number in range(calls):
        results[number % len(pool)] = _once(function, pool[number % len(pool)], backward)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end), results


def kernels(
    function: Callable[..., Any], pool: Sequence[Call], *, backward: bool
) -> dict[str, float]:
    """Microseconds of GPU time by the name of what ran (kernels, copies, fills), over the pool."""
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for call in pool:
            _once(function, call, backward)
        torch.cuda.synchronize()
    spent: dict[str, float] = {}
    for event in profile.events():
        if "CUDA" in str(event.device_type):
            spent[event.name] = spent.get(event.name, 0.0) + event.device_time
    return spent


def samples(
    function: Callable[..., Any], pool: Sequence[Call], calls: int, direction: str, ahead: float
) -> list[float]:
    """Milliseconds by the device's events of each of `calls` calls, the pool's in turn: what the
    device takes, while the host has launched everything `ahead` seconds before.

    Each finds the L2 cache full of something else, written right before. `direction` is forward,
    backward, or both.
    """
    cold = torch.empty(_L2_BYTES, dtype=torch.int8, device="cuda")
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    for number, (start, end) in enumerate(marks):
        call = pool[number % len(pool)]
        ran = call.outputs(function) if direction == "backward" else None
        cold.zero_()
        torch.cuda._sleep(int(ahead * _CYCLES))  # type: ignore[no-untyped-call]
        start.record()
        leaves, outputs = ran or call.outputs(function)
        if direction != "forward":
            call.gradients(leaves, outputs)
        end.record()
        del ran, leaves, outputs
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in marks]


def host_seconds(
    function: Callable[..., Any], pool: Sequence[Call], calls: int, direction: str
) -> float:
    """Seconds of the host for each of so few calls that the GPU is never waited for."""
    torch.cuda.synchronize()
    prepared = [
        pool[n % len(pool)].outputs(function) if direction == "backward" else None
        for n in range(calls)
    ]
    torch.cuda.synchronize()
    started = time.perf_counter()
    for number, ran in enumerate(prepared):
        call = pool[number % len(pool)]
        leaves, outputs = ran or call.outputs(function)
        if direction != "forward":
            call.gradients(leaves, outputs)
    spent = time.perf_counter() - started
    torch.cuda.synchronize()
    return spent / calls


def peak_bytes(function: Callable[..., Any], call: Call) -> int:
    """The most memory that one forward and backward takes beyond its inputs and gradients sent."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    _once(function, call, backward=True)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def ceilings() -> dict[str, float]:
    """What this GPU does at best: bytes a second of a copy, both ways counted; FLOP a second of a
    bf16 matrix product.
    """
    one = torch.randint(0, 256, (1 << 30,), dtype=torch.uint8, device="cuda")
    other = torch.empty_like(one)
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    product = torch.empty_like(a)
    copy = _median(lambda: other.copy_(one))
    matmul = _median(lambda: torch.mm(a, b, out=product))
    return {"copy bytes/s": 2 * one.numel() / copy, "bf16 FLOP/s": 2 * 8192**3 / matmul}


def _median(work: Callable[[], Any], calls: int = 20) -> float:
    """The median of seconds by the device's events, once it is warm."""
    for _ in range(calls // 2):
        work()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]  # type: ignore[no-untyped-call]
    for start, end in marks:
        start.record()
        work()
        end.record()
    torch.cuda.synchronize()
    return float(statistics.median(start.elapsed_time(end) for start, end in marks)) / 1000


def _once(function: Callable[..., Any], call: Call, backward: bool) -> list[Tensor]:
    leaves, outputs = call.outputs(function)
    gradients = call.gradients(leaves, outputs) if backward else {}
    return [*outputs, *gradients.values()]
