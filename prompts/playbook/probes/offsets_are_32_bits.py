"""The offset of a program's row: the width of the product."""

import re

import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor


@triton.jit
def kernel(Y, stride, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    row = tl.program_id(0)
    if WIDE:
        row = row.to(tl.int64)
    tl.store(Y + row * stride + tl.arange(0, BLOCK), 0.0)


def probe(architecture: str) -> Found:
    bits = {}
    for name, wide in (("program_id", False), ("program_id.to(int64)", True)):
        ttir = compiled(architecture, kernel, tensor(), 4096, BLOCK=128, WIDE=wide).compiled.asm[
            "ttir"
        ]
        (product,) = re.findall(r"arith\.muli .* : i(\d+)", ttir)
        bits[name] = int(product)
    return Found(list(bits.values()) == [32, 64], bits)
