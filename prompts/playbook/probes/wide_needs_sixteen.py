"""Rows of strides and lengths that are multiples of 16, or not: loads of 16 bytes."""

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor


@triton.jit
def kernel(Y, X, stride, n_cols, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * stride + tl.arange(0, BLOCK)
    mask = tl.arange(0, BLOCK) < n_cols
    tl.store(Y + at, tl.load(X + at, mask=mask, other=0.0) * 2, mask=mask)


def probe(architecture: str) -> Found:
    x = tensor(torch.bfloat16)
    wide = {}
    for stride, n_cols in ((8192, 8192), (8191, 8192), (8192, 8191), (8200, 8200)):
        usage = compiled(architecture, kernel, x, x, stride, n_cols, BLOCK=8192).usage
        wide[f"stride {stride}, length {n_cols}: wide of {usage.loads}"] = usage.wide_loads
    first, *others = wide.values()
    return Found(bool(first) and not any(others), wide)
