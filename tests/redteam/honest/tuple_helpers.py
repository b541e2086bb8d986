"""Device functions that return tuples, call each other, take defaults and flags; libdevice for the
exponential, and a fused multiply-add.
"""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            "from torch import Tensor\n\n",
            "from torch import Tensor\nfrom triton.language.extra import libdevice\n\n",
        ),
        (
            "@triton.jit\ndef _swiglu_fwd(Y",
            """\
@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + libdevice.exp(-x))


@triton.jit
def _silu(x, WITH_SLOPE: tl.constexpr = False):
    sig = _sigmoid(x)
    value = x * sig
    if WITH_SLOPE:
        return value, sig * tl.fma(x, 1.0 - sig, 1.0)
    else:
        return value


@triton.jit
def _load(P, offsets, mask):
    return tl.load(P + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _where(n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return offsets, offsets < n


@triton.jit
def _swiglu_fwd(Y""",
        ),
        (
            """\
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(UP + offsets, mask=mask, other=0.0).to(tl.float32)
    y = gate * tl.sigmoid(gate) * up
""",
            """\
    offsets, mask = _where(n, BLOCK)
    y = _silu(_load(GATE, offsets, mask)) * _load(UP, offsets, mask)
""",
        ),
        (
            """\
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(UP + offsets, mask=mask, other=0.0).to(tl.float32)
    sig = tl.sigmoid(gate)
    dgate = dy * up * sig * (gate * (1.0 - sig) + 1.0)
    dup = dy * gate * sig
""",
            """\
    offsets, mask = _where(n, BLOCK)
    dy = _load(DY, offsets, mask)
    silu, slope = _silu(_load(GATE, offsets, mask), WITH_SLOPE=True)
    dgate, dup = dy * _load(UP, offsets, mask) * slope, dy * silu
""",
        ),
    ]
}
