"""Constants that kernels read from the level of the file, as `tl.constexpr`, annotated and made."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n",
            """\
BLOCK: tl.constexpr = tl.constexpr(1024)
UNROLL: tl.constexpr = 2
_ZERO = tl.constexpr(0.0)
_FACTOR = tl.constexpr(2.0)
_ELEMENTS = BLOCK.value * UNROLL
""",
        ),
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
def _relu2_fwd(Y, X, n):
    start = tl.program_id(0).to(tl.int64) * BLOCK * UNROLL
    for part in tl.static_range(UNROLL):
        offsets = start + part * BLOCK + tl.arange(0, BLOCK)
        mask = offsets < n
        x = tl.load(X + offsets, mask=mask, other=_ZERO).to(tl.float32)
        relu = tl.where(x < _ZERO, _ZERO, x)
        tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
""",
        ),
        ("def _relu2_bwd(DX, DY, X, n, BLOCK: tl.constexpr):", "def _relu2_bwd(DX, DY, X, n):"),
        ("    dx = dy * (2.0 * relu)\n", "    dx = dy * (_FACTOR * relu)\n"),
        (
            "_relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)",
            "_relu2_fwd[(triton.cdiv(n, _ELEMENTS),)](y, x, n)",
        ),
        (
            "_relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)",
            "_relu2_bwd[(triton.cdiv(n, BLOCK.value),)](dx, dy, x, n)",
        ),
    ]
}
