"""Running the op many times on a GPU, over a pool of inputs; and which kernels the time went to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.worker.calls import Call


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


def _once(function: Callable[..., Any], call: Call, backward: bool) -> list[Tensor]:
    leaves, outputs = call.outputs(function)
    gradients = call.gradients(leaves, outputs) if backward else {}
    return [*outputs, *gradients.values()]
