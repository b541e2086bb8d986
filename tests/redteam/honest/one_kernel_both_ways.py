"""One kernel is the forward and, with a constexpr flag, the backward."""

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


@triton.jit
def _relu2_bwd(DX, DY, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    dx = dy * (2.0 * relu)
    tl.store(DX + offsets, dx.to(DX.dtype.element_ty), mask=mask)
""",
            """\
def _relu2(OUT, DY, X, n, BACKWARD: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    if BACKWARD:
        out = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32) * (2.0 * relu)
    else:
        out = relu * relu
    tl.store(OUT + offsets, out.to(OUT.dtype.element_ty), mask=mask)
""",
        ),
        (
            "_relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)",
            "_relu2[(triton.cdiv(n, BLOCK),)](y, None, x, n, BACKWARD=False, BLOCK=BLOCK)",
        ),
        (
            "_relu2_bwd[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BLOCK=BLOCK)",
            "_relu2[(triton.cdiv(n, BLOCK),)](dx, dy, x, n, BACKWARD=True, BLOCK=BLOCK)",
        ),
    ]
}
