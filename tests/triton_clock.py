"""`python tests/triton_clock.py ROOT OP ROWS COLS RIVALS`: the times of rivals (a JSON list) by
Triton's own clock over CUDA graphs, as JSON. A process of its own: the op is imported here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from triton.testing import do_bench_cudagraph

from workbench.worker.contender import load


def seconds(work: Callable[[], Any]) -> float:
    """The median; the graph leaves out what the host takes."""
    for _ in range(3):
        work()
    return float(do_bench_cudagraph(work, rep=100, return_mode="median")) / 1000


def first(outputs: Any) -> Tensor:
    """The first output."""
    found: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return found


def times(call: Callable[..., Any], inputs: list[Tensor]) -> dict[str, float]:
    """Seconds of the forward, and with the backward of its first output: of the backward alone no
    graph can be made, since it runs where its forward ran.
    """
    dy = torch.randn_like(first(call(*inputs)))
    return {
        "forward": seconds(lambda: call(*inputs)),
        "both": seconds(lambda: torch.autograd.grad(first(call(*inputs)), inputs, dy)),
    }


def main(root: str, op: str, rows: str, cols: str, rivals: str) -> None:
    """Time them all."""
    package = import_module("workbench_kernels")
    package.__path__.append(f"{root}/kernels/workbench_kernels")
    spec = import_module(f"workbench_kernels.{op}.spec").SPEC
    drawn = spec.inputs(int(rows), int(cols))
    inputs = [t.to("cuda", torch.bfloat16).requires_grad_() for t in drawn]
    found = {}
    for rival in json.loads(rivals):
        try:
            found[rival["name"]] = times(load(op, rival), inputs)
        except ModuleNotFoundError:
            continue
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
