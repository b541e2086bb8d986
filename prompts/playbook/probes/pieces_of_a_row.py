"""A row of 5120 in one block of 8192, and in five pieces of 1024."""

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor


@triton.jit
def kernel(Y, X, n_cols, PIECES: tl.constexpr, BLOCK: tl.constexpr):
    for piece in tl.static_range(PIECES):
        cols = piece * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(X + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
        tl.store(Y + cols, x * x + x * 3, mask=cols < n_cols)


def probe(architecture: str) -> Found:
    x = tensor(torch.bfloat16)
    block = compiled(architecture, kernel, x, x, 5120, PIECES=1, BLOCK=8192)
    pieces = compiled(architecture, kernel, x, x, 5120, PIECES=5, BLOCK=1024)
    fewer = pieces.instructions <= 0.75 * block.instructions
    return Found(
        fewer and pieces.usage.registers < block.usage.registers,
        {
            "instructions of a block": block.instructions,
            "of pieces": pieces.instructions,
            "registers of a block": block.usage.registers,
            "registers of pieces": pieces.usage.registers,
        },
    )
