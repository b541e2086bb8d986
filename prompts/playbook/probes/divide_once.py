"""Softmax with one division, with `/`, and with div_rn: instructions an element."""

import torch
import triton
import triton.language as tl

from workbench.playbook.probe import Found, compiled, tensor

COLS, WARPS = 8192, 8
LANES = COLS // (WARPS * 32)


@triton.jit
def softmax(Y, X, n_cols, BLOCK: tl.constexpr, HOW: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    x = tl.load(X + cols, mask=cols < n_cols, other=float("-inf")).to(tl.float32)
    exp = tl.exp(x - tl.max(x, 0))
    total = tl.sum(exp, 0)
    if HOW == "reciprocal":
        y = exp * (1.0 / total)
    elif HOW == "division":
        y = exp / total
    else:
        y = tl.div_rn(exp, total + tl.zeros([BLOCK], tl.float32))
    tl.store(Y + cols, y, mask=cols < n_cols)


def probe(architecture: str) -> Found:
    x = tensor(torch.bfloat16)
    each = {
        how: compiled(
            architecture, softmax, x, x, COLS, BLOCK=COLS, HOW=how, num_warps=WARPS
        ).instructions
        / LANES
        for how in ("reciprocal", "division", "div_rn")
    }
    holds = (
        each["division"] - each["reciprocal"] >= 1.5 and each["div_rn"] - each["reciprocal"] >= 10
    )
    return Found(holds, {how: round(count, 1) for how, count in each.items()})
