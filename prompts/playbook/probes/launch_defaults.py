"""What a launch that says nothing is compiled with."""

import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor


@triton.jit
def kernel(X, BLOCK: tl.constexpr):
    tl.store(X + tl.arange(0, BLOCK), 1.0)


def probe(architecture: str) -> Found:
    said = compiled(architecture, kernel, tensor(), BLOCK=128).compiled.metadata
    figures = {"num_warps": said.num_warps, "num_stages": said.num_stages}
    return Found(figures == {"num_warps": 4, "num_stages": 3}, figures)
