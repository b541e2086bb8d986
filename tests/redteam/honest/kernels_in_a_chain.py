"""Two kernels in a row with a float32 scratch tensor between them: the sigmoid, then the
product.
"""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            "def _swiglu_fwd(Y, GATE, UP, n, BLOCK: tl.constexpr):\n",
            """\
def _swiglu_sigmoid(SIG, GATE, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    tl.store(SIG + offsets, tl.sigmoid(gate), mask=mask)


@triton.jit
def _swiglu_fwd(Y, GATE, UP, SIG, n, BLOCK: tl.constexpr):
""",
        ),
        (
            "    y = gate * tl.sigmoid(gate) * up\n",
            "    y = gate * tl.load(SIG + offsets, mask=mask, other=0.0) * up\n",
        ),
        (
            "        _swiglu_fwd[grid](y, gate, up, n, BLOCK=BLOCK)\n",
            "        scratch = torch.empty_like(y, dtype=torch.float32)\n"
            "        _swiglu_sigmoid[grid](scratch, gate, n, BLOCK=BLOCK)\n"
            "        _swiglu_fwd[grid](y, gate, up, scratch, n, BLOCK=BLOCK)\n",
        ),
    ]
}
