"""A fixed number of programs, each walking over the blocks of the tensor in strides."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048", "BLOCK = 256\nPROGRAMS = 6"),
        (
            """\
def _swiglu_fwd(Y, GATE, UP, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(UP + offsets, mask=mask, other=0.0).to(tl.float32)
    y = gate * tl.sigmoid(gate) * up
    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)
""",
            """\
def _swiglu_fwd(Y, GATE, UP, n, BLOCK: tl.constexpr):
    for block in range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        offsets = tl.cast(block, tl.int64) * BLOCK + tl.arange(0, BLOCK)
        mask = offsets < n
        gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
        up = tl.load(UP + offsets, mask=mask, other=0.0).to(tl.float32)
        y = gate * tl.sigmoid(gate) * up
        tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)
""",
        ),
        (
            """\
    n = gate.numel()
    grid = (triton.cdiv(n, BLOCK),)
    with device_of(gate):
        _swiglu_fwd[grid]""",
            """\
    n = gate.numel()
    grid = (min(PROGRAMS, triton.cdiv(n, BLOCK)),)
    with device_of(gate):
        _swiglu_fwd[grid]""",
        ),
    ]
}
