"""A float32 accumulator of 32768 columns, by warps: bytes spilled."""

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor


@triton.jit
def kernel(Y, X, n_rows, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for row in range(n_rows):
        total += tl.load(X + row * BLOCK + cols).to(tl.float32)
    tl.store(Y + cols, total)


def probe(architecture: str) -> Found:
    spilled = {
        f"{warps} warps": compiled(
            architecture, kernel, tensor(), tensor(torch.bfloat16), 64, BLOCK=32768, num_warps=warps
        ).usage.spill_bytes
        for warps in (4, 8, 16)
    }
    four, *more = spilled.values()
    return Found(four > 0 and not any(more), spilled)
