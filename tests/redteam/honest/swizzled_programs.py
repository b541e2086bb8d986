"""One-dimensional program numbers are spread over a grid of tiles in groups, by `tl.swizzle2d`."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nTILE_M, TILE_N, GROUP = 8, 256, 4\n"),
        (
            """\
def _swiglu_fwd(Y, GATE, UP, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
""",
            """\
def _swiglu_fwd(Y, GATE, UP, M, N, TM: tl.constexpr, TN: tl.constexpr, GROUP: tl.constexpr):
    tiles_m, tiles_n = tl.cdiv(M, TM), tl.cdiv(N, TN)
    pid = tl.program_id(0)
    m, n = tl.swizzle2d(pid // tiles_n, pid % tiles_n, tiles_m, tiles_n, GROUP)
    rows = m * TM + tl.arange(0, TM)
    cols = n * TN + tl.arange(0, TN)
    offsets = rows[:, None].to(tl.int64) * N + cols[None, :]
    mask = (rows < M)[:, None] & (cols < N)[None, :]
""",
        ),
        (
            """\
    n = gate.numel()
    grid = (triton.cdiv(n, BLOCK),)
    with device_of(gate):
        _swiglu_fwd[grid](y, gate, up, n, BLOCK=BLOCK)
""",
            """\
    if not gate.numel():
        return y
    N = gate.shape[-1] if gate.dim() else 1
    M = gate.numel() // N
    grid = (triton.cdiv(M, TILE_M) * triton.cdiv(N, TILE_N),)
    with device_of(gate):
        _swiglu_fwd[grid](y, gate, up, M, N, TM=TILE_M, TN=TILE_N, GROUP=GROUP)
""",
        ),
    ]
}
