"""Running the op many times on a GPU, over a pool of inputs; and which kernels the time went to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from workbench.worker.calls import Call

# More than the L2 cache of any GPU.
_L2_BYTES = 256 << 20
# Cycles a second of a fast GPU; on a slower one waiting takes longer.
_CYCLES = 2.0e9
# Pairs of events to see what they add; the small kernels between some; what launching these takes.
_PAIRS, _SPECKS, _SPECKS_SECONDS = 40, 8, 1e-3
# Steps of a training loop that are made up to see what the host does, as long as they don't take
# the device longer.
_STEPS, _STEPS_SECONDS = 6, 0.1


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
    backward, or both. What the events themselves take is in it.
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


def events_milliseconds() -> float:
    """What a pair of events shows beyond what the device does between them: of one kernel that
    does next to nothing, what is shown less what each further one adds.
    """
    speck = torch.zeros(1, device="cuda")

    def shown(kernels: int) -> list[float]:
        marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(_PAIRS)]  # type: ignore[no-untyped-call]
        for start, end in marks:
            torch.cuda._sleep(int(_SPECKS_SECONDS * _CYCLES))  # type: ignore[no-untyped-call]
            start.record()
            for _ in range(kernels):
                speck.add_(1)
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in marks]

    shown(1)
    return besides(shown(1), shown(1 + _SPECKS), _SPECKS)


def besides(one: Sequence[float], more: Sequence[float], further: int) -> float:
    """What a pair of events adds, of pairs that have one kernel between them and pairs that have so
    many further ones. The lower quartiles count: whenever the host is late, both show its time.
    """
    least, all_of_them = (statistics.quantiles(shown, n=4)[0] for shown in (one, more))
    return least - (all_of_them - least) / further


def launch_seconds(function: Callable[..., Any], call: Call, direction: str) -> float:
    """Seconds of the host for one call, as long as it takes who has just waited for the GPU."""
    torch.cuda.synchronize()
    ran = call.outputs(function) if direction == "backward" else None
    torch.cuda.synchronize()
    started = time.perf_counter()
    leaves, outputs = ran or call.outputs(function)
    if direction != "forward":
        call.gradients(leaves, outputs)
    spent = time.perf_counter() - started
    torch.cuda.synchronize()
    return spent


def host_seconds(
    function: Callable[..., Any], pool: Sequence[Call], calls: int, *, backward: bool
) -> dict[str, float]:
    """Seconds of the host for each call by direction, as a training step pays them: `calls` calls
    one after another, each with leaves of its own, then one run of autograd back through all. The
    least of some steps, each right after another: whoever has waited for the GPU is slow at first,
    and whatever else runs on the machine only ever adds. Fewer calls where memory does not hold the
    results of so many.
    """
    calls = max(1, min(calls, _room() // max(1, peak_bytes(function, pool[0]))))
    steps, began = list[tuple[float, float]](), time.perf_counter()
    while len(steps) < _STEPS and (not steps or time.perf_counter() < began + _STEPS_SECONDS):
        torch.cuda.synchronize()
        _step(function, pool, calls, backward)
        steps.append(_step(function, pool, calls, backward))
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # others are timed beside this process
    forward = min(forward for forward, _ in steps)
    if not backward:
        return {"forward": forward}
    return {"forward": forward, "backward": min(b for _, b in steps), "both": min(map(sum, steps))}


def _step(
    function: Callable[..., Any], pool: Sequence[Call], calls: int, backward: bool
) -> tuple[float, float]:
    """Seconds of the host per call: forward, and backward."""
    step = [replace(pool[number % len(pool)], kept={}) for number in range(calls)]
    for call in step:
        call.leaves()  # kept
    started = time.perf_counter()
    ran = [call.outputs(function) for call in step]
    forward = time.perf_counter() - started
    sent = [
        (y, dy)
        for call, (_, outputs) in zip(step, ran, strict=True)
        for y, dy in zip(outputs, call.upstream, strict=False)
        if dy is not None and y.requires_grad
    ]
    known = [leaf for leaves, _ in ran for leaf in leaves if leaf is not None]
    wanted = [leaf for leaf in known if leaf.requires_grad]
    started = time.perf_counter()
    if backward and sent:
        ys, dys = zip(*sent, strict=True)
        torch.autograd.grad(ys, wanted, dys, allow_unused=True)
    back = time.perf_counter() - started
    return forward / calls, back / calls


def _room() -> int:
    """Half of the GPU's memory that is free, or that this process keeps for itself."""
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return (torch.cuda.mem_get_info()[0] + kept) // 2


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
    """The median of seconds by the device's events, once it is warm, without what these add."""
    for _ in range(calls // 2):
        work()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]  # type: ignore[no-untyped-call]
    for start, end in marks:
        start.record()
        work()
        end.record()
    torch.cuda.synchronize()
    shown = float(statistics.median(start.elapsed_time(end) for start, end in marks))
    return (shown - events_milliseconds()) / 1000


def _once(function: Callable[..., Any], call: Call, backward: bool) -> list[Tensor]:
    leaves, outputs = call.outputs(function)
    gradients = call.gradients(leaves, outputs) if backward else {}
    return [*outputs, *gradients.values()]
