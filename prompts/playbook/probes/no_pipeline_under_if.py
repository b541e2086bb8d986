"""A loop whose load is masked, and one whose load is under an `if`: asynchronous copies."""

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor


@triton.jit
def kernel(Y, X, n_rows, STEPS: tl.constexpr, BLOCK: tl.constexpr, BRANCHES: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for row in tl.range(0, STEPS, num_stages=3):
        if BRANCHES:
            if row < n_rows:
                total += tl.load(X + row * BLOCK + cols).to(tl.float32)
        else:
            mask = (row < n_rows) & (cols < BLOCK)
            total += tl.load(X + row * BLOCK + cols, mask=mask, other=0.0).to(tl.float32)
    tl.store(Y + cols, total)


def probe(architecture: str) -> Found:
    copies = {
        name: compiled(
            architecture,
            kernel,
            tensor(),
            tensor(torch.bfloat16),
            64,
            STEPS=64,
            BLOCK=4096,
            BRANCHES=branches,
        )
        .compiled.asm["ptx"]
        .count("cp.async.cg")
        for name, branches in (("masked", False), ("under if", True))
    }
    return Found(copies["masked"] > 0 and copies["under if"] == 0, copies)
