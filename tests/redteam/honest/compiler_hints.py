"""Hints for the compiler everywhere: assumptions, multiples, eviction and cache policies, static
assertions, a barrier, `do_not_specialize` and `noinline`.
"""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "@triton.jit\ndef _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):\n",
            """\
@triton.jit(noinline=True)
def _square(x):
    return x * x


@triton.jit(do_not_specialize=["n"], debug=False)
def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK >= 128, "a block is at least a warp's load")
    tl.static_assert(Y.dtype == X.dtype)
    tl.assume(n > 0)
""",
        ),
        (
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n"
            "    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)\n",
            """\
    offsets = tl.max_contiguous(tl.multiple_of(offsets, BLOCK), BLOCK)
    x = tl.load(
        X + offsets, mask, 0.0, cache_modifier=".ca", eviction_policy="evict_first", volatile=False
    )
    x = x.to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.debug_barrier()
    y = _square(relu).to(Y.dtype.element_ty)
    tl.store(Y + offsets, y, mask, cache_modifier=".wb", eviction_policy="evict_last")
""",
        ),
        (
            "@triton.jit\ndef _relu2_bwd",
            '@triton.jit(do_not_specialize_on_alignment=["DX"])\ndef _relu2_bwd',
        ),
    ]
}
