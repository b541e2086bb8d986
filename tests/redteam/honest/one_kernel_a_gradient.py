"""Each gradient has a kernel of its own, launched only where it is wanted."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            """\
def _swiglu_bwd(DGATE, DUP, DY, GATE, UP, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(UP + offsets, mask=mask, other=0.0).to(tl.float32)
    sig = tl.sigmoid(gate)
    dgate = dy * up * sig * (gate * (1.0 - sig) + 1.0)
    dup = dy * gate * sig
    if DGATE is not None:
        tl.store(DGATE + offsets, dgate.to(DGATE.dtype.element_ty), mask=mask)
    if DUP is not None:
        tl.store(DUP + offsets, dup.to(DUP.dtype.element_ty), mask=mask)
""",
            """\
def _swiglu_bwd_gate(DGATE, DY, GATE, UP, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(UP + offsets, mask=mask, other=0.0).to(tl.float32)
    sig = tl.sigmoid(gate)
    dgate = dy * up * sig * (gate * (1.0 - sig) + 1.0)
    tl.store(DGATE + offsets, dgate.to(DGATE.dtype.element_ty), mask=mask)


@triton.jit
def _swiglu_bwd_up(DUP, DY, GATE, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    dup = dy * gate * tl.sigmoid(gate)
    tl.store(DUP + offsets, dup.to(DUP.dtype.element_ty), mask=mask)
""",
        ),
        (
            "        _swiglu_bwd[grid](dgate, dup, dy, gate, up, n, BLOCK=BLOCK)\n",
            "        if dgate is not None:\n"
            "            _swiglu_bwd_gate[grid](dgate, dy, gate, up, n, BLOCK=BLOCK)\n"
            "        if dup is not None:\n"
            "            _swiglu_bwd_up[grid](dup, dy, gate, n, BLOCK=BLOCK)\n",
        ),
    ]
}
