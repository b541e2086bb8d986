"""A maximum that keeps NaN: by the instruction, and by selections; instructions an element."""

import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor

COLS, WARPS = 4096, 4


@triton.jit
def kernel(Z, X, Y, BLOCK: tl.constexpr, HOW: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    x, y = tl.load(X + cols), tl.load(Y + cols)
    if HOW == "drops":
        z = tl.maximum(x, y)
    elif HOW == "keeps":
        z = tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)
    else:
        z = tl.where(x != x, x, tl.where(y != y, y, tl.maximum(x, y)))
    tl.store(Z + cols, z)


def probe(architecture: str) -> Found:
    each = {
        how: compiled(
            architecture, kernel, *[tensor()] * 3, BLOCK=COLS, HOW=how, num_warps=WARPS
        ).instructions
        / (COLS // (WARPS * 32))
        for how in ("drops", "keeps", "selects")
    }
    holds = each["keeps"] - each["drops"] < 0.5 and each["selects"] - each["keeps"] >= 2.5
    return Found(holds, {how: round(count, 1) for how, count in each.items()})
