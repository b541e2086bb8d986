"""`python tests/triton_clock.py ROOT OP ROWS COLS RIVALS`: the times of rivals (a JSON list) by
two clocks that share nothing with the bench's, as JSON. A process of its own: the op is imported
here.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from triton.testing import do_bench_cudagraph

from workbench.worker.contender import load, settled

# Inputs and results that are used in turn: together more than an L2 cache holds at the sizes asked
# for, so that nothing is found there from the call before.
POOL = 3
CALLS, ROUNDS = 12, 20


def in_a_graph(work: Callable[[int], Any]) -> float:
    """Triton's clock: the median for one of the pool in a CUDA graph, whose kernels come closer
    after each other than those a program launches one by one.
    """

    def all_of_them() -> None:
        _kept = [work(number) for number in range(POOL)]

    for _ in range(3):
        all_of_them()
    return float(do_bench_cudagraph(all_of_them, rep=100, return_mode="median")) / 1000 / POOL


def in_a_stream(work: Callable[[int], Any], *, cold: bool = False) -> float:
    """Seconds for one of the pool where calls follow each other, launched before the device comes
    to them: by how much twice as many take longer, so that no start and no event is in it. If
    `cold`, each comes after something else has filled the L2 cache, whose time is taken off.
    """
    kept: list[Any] = [None] * POOL
    other = torch.empty(256 << 20, dtype=torch.int8, device="cuda")

    def launch(calls: int, works: bool) -> None:
        for number in range(calls):
            if cold:
                other.zero_()
            if works:
                kept[number % POOL] = work(number % POOL)

    def shown(calls: int, works: bool = True) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
        start.record()
        launch(calls, works)
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000

    def more(works: bool) -> float:
        found = (shown(2 * CALLS, works) - shown(CALLS, works) for _ in range(ROUNDS))
        return statistics.median(found) / CALLS

    launch(2 * CALLS, works=True)
    torch.cuda.synchronize()
    started = time.perf_counter()
    launch(2 * CALLS, works=True)
    cycles = int(2 * (time.perf_counter() - started) * 2.0e9)
    torch.cuda.synchronize()
    return more(works=True) - (more(works=False) if cold else 0.0)


def first(outputs: Any) -> Tensor:
    """The first output."""
    found: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return found


def times(call: Callable[..., Any], pool: list[dict[str, Tensor]]) -> dict[str, list[float]]:
    """Seconds in a stream with a cold cache, without, and in a graph, of the forward and with the
    backward of its first output: of the backward alone no graph can be made, since it runs where
    its forward ran.
    """
    dys = [torch.randn_like(first(call(**inputs))) for inputs in pool]

    def both(number: int) -> Any:
        y = first(call(**pool[number]))
        return y, torch.autograd.grad(y, [*pool[number].values()], dys[number])

    def forward(number: int) -> Any:
        return call(**pool[number])

    return {
        way: [in_a_stream(work, cold=True), in_a_stream(work), in_a_graph(work)]
        for way, work in (("forward", forward), ("both", both))
    }


def main(root: str, op: str, rows: str, cols: str, rivals: str) -> None:
    """Time them all."""
    package = import_module("workbench_kernels")
    package.__path__.append(f"{root}/kernels/workbench_kernels")
    spec = import_module(f"workbench_kernels.{op}.spec").SPEC
    pool = [
        {
            name: t.to("cuda", torch.bfloat16).requires_grad_()
            for name, t in zip(spec.tensors, spec.inputs(int(rows), int(cols)), strict=True)
        }
        for _ in range(POOL)
    ]
    found = {}
    for rival in json.loads(rivals):
        try:
            call = settled(load(op, rival), rival["how"], pool[0])
            found[rival["name"]] = times(call, pool)
        except ModuleNotFoundError:
            continue
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
