"""Shapes inside a kernel: blocks reshaped, transposed, split into pairs and joined again."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n"
            "    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)\n",
            """\
    even, odd = tl.split(tl.reshape(x, (BLOCK // 2, 2)))
    even = tl.where(even < 0.0, 0.0, even)
    odd = tl.where(odd < 0.0, 0.0, odd)
    y = tl.interleave(even * even, odd * odd)
    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)
""",
        ),
        (
            "    dx = dy * (2.0 * relu)\n",
            """\
    square = tl.trans(tl.reshape(relu, (BLOCK // 16, 16)))
    dx = tl.join(dy, dy * 0.0)
    first, _ = tl.split(dx)
    dx = first * tl.reshape(tl.permute(2.0 * square, (1, 0)), (BLOCK,))
""",
        ),
    ]
}
