"""exp, and the power of two that it is: instructions an element."""

import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor

COLS, WARPS = 4096, 4


@triton.jit
def kernel(Y, X, BLOCK: tl.constexpr, HOW: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    x = tl.load(X + cols)
    tl.store(Y + cols, tl.exp(x) if HOW == "exp" else tl.exp2(x * 1.4426950408889634))


def probe(architecture: str) -> Found:
    each = {
        how: compiled(
            architecture, kernel, tensor(), tensor(), BLOCK=COLS, HOW=how, num_warps=WARPS
        ).instructions
        / (COLS // (WARPS * 32))
        for how in ("exp", "exp2")
    }
    holds = each["exp"] - each["exp2"] >= 2.5
    return Found(holds, {how: round(count, 1) for how, count in each.items()})
