"""A kernel that does nothing, of four tensors and four numbers: microseconds of the host a launch,
by Triton and by the library's own key, the quickest of many."""

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found, quickest
from workbench_kernels.jit import jit


def nothing(A, B, C, D, one, two, three, four, BLOCK: tl.constexpr):
    pass


def probe(architecture: str) -> Found:
    tensors = [torch.empty(64, device="cuda") for _ in range(4)]
    by_triton, by_key = triton.jit(nothing), jit(nothing)
    ways = {
        "triton.jit": lambda: by_triton[(1,)](*tensors, 1, 2, 16, 0.5, BLOCK=64),
        "jit": lambda: by_key[(1,)](*tensors, 1, 2, 16, 0.5, BLOCK=64),
    }
    best = quickest(ways)
    holds = best["triton.jit"] >= 1.3 * best["jit"]
    return Found(holds, {name: round(micros, 2) for name, micros in best.items()})
