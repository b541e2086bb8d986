"""A kernel that does nothing, of four tensors and four numbers: microseconds of the host a launch,
by Triton and by the library's own key, the quickest of many."""

import torch
import triton

from workbench.playbook.probe import Found, quickest
from workbench_kernels.jit import jit


def nothing(A, B, C, D, one, two, three, four, BLOCK: "triton.language.constexpr"):
    pass


def probe(architecture: str) -> Found:
    tensors = [torch.empty(64, device="cuda") for _ in range(4)]
    ways = {}
    for name, kernel in {"triton.jit": triton.jit(nothing), "jit": jit(nothing)}.items():
        ways[name] = lambda kernel=kernel: kernel[(1,)](*tensors, 1, 2, 16, 0.5, BLOCK=64)
    best = quickest(ways, 1000, 7)
    holds = best["triton.jit"] >= 1.5 * best["jit"]
    return Found(holds, {name: round(micros, 2) for name, micros in best.items()})
