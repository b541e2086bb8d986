"""Block size and masking chosen by `triton.heuristics`: whole blocks go without a mask."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n\n\n@triton.jit\ndef _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):",
            """\
BLOCK = 1024


@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):""",
        ),
        (
            """\
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
""",
            """\
    if EVEN:
        x = tl.load(X + offsets).to(tl.float32)
    else:
        x = tl.load(X + offsets, mask=offsets < n, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    y = (relu * relu).to(Y.dtype.element_ty)
    if EVEN:
        tl.store(Y + offsets, y)
    else:
        tl.store(Y + offsets, y, mask=offsets < n)
""",
        ),
    ],
    "spec.py": [("(7, 4097))", "(7, 4097), (4, 1024))")],  # an even one, for the other branch
}
