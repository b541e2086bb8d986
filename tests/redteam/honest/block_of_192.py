"""A block of 192, which is no power of two, in a loop of three parts of 64."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048", "PART, PARTS = 64, 3\nBLOCK = PART * PARTS"),
        (
            """\
def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
""",
            """\
def _relu2_fwd(Y, X, n, PART: tl.constexpr, PARTS: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * (PART * PARTS)
    for part in range(PARTS):
        offsets = start + part * PART + tl.arange(0, PART)
        mask = offsets < n
        x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
        relu = tl.where(x < 0.0, 0.0, x)
        tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
""",
        ),
        ("(y, x, n, BLOCK=BLOCK)", "(y, x, n, PART=PART, PARTS=PARTS)"),
        (
            "_relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)",
            "_relu2_bwd[(triton.cdiv(n, 2 * PART),)](dx, dy, x, n, BLOCK=2 * PART)",
        ),
    ]
}
