"""Block pointers with boundary checks instead of offsets and masks."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
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
def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):
    start = tl.program_id(0) * BLOCK
    source = tl.make_block_ptr(X, (n,), (1,), (start,), (BLOCK,), (0,))
    target = tl.make_block_ptr(Y, (n,), (1,), (start,), (BLOCK,), (0,))
    x = tl.load(source, boundary_check=(0,)).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(target, (relu * relu).to(Y.dtype.element_ty), boundary_check=(0,))
""",
        ),
    ]
}
