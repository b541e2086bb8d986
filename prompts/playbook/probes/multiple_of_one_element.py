"""A hint of three dimensions on one element, and on four."""

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor


@triton.jit
def kernel(Y, X, stride, HEADS: tl.constexpr, BLOCK: tl.constexpr):
    at = (tl.program_id(0) * HEADS + tl.arange(0, HEADS))[:, None, None].to(tl.int64) * stride
    at = tl.multiple_of(at, (1, 1, 16)) + tl.arange(0, BLOCK)[None, None, :]
    tl.store(Y + at, tl.load(X + at))


def probe(architecture: str) -> Found:
    x, compiles = tensor(torch.bfloat16), {}
    for heads in (4, 1):
        try:
            compiled(architecture, kernel, x, x, 128, HEADS=heads, BLOCK=128)
            compiles[f"{heads} elements"] = "compiles"
        except RuntimeError:
            compiles[f"{heads} elements"] = "fails"
    return Found(list(compiles.values()) == ["compiles", "fails"], compiles)
