"""Two-dimensional block pointers that are advanced along the rows, with padding and an order."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nROWS, COLS = 16, 128\n"),
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
def _swiglu_fwd(
    Y, GATE, UP, n_rows, n_cols, stride_m, stride_n, ROWS: tl.constexpr, COLS: tl.constexpr
):
    pid_m = tl.program_id(0)
    p_gate = tl.make_block_ptr(
        base=GATE, shape=(n_rows, n_cols), strides=(stride_m, stride_n),
        offsets=(pid_m * ROWS, 0), block_shape=(ROWS, COLS), order=(1, 0),
    )
    p_up = tl.make_block_ptr(
        UP, (n_rows, n_cols), (stride_m, stride_n), (pid_m * ROWS, 0), (ROWS, COLS), (1, 0)
    )
    p_y = tl.make_block_ptr(
        Y, (n_rows, n_cols), (stride_m, stride_n), (pid_m * ROWS, 0), (ROWS, COLS), (1, 0)
    )
    for _ in range(0, tl.cdiv(n_cols, COLS)):
        b_gate = tl.load(p_gate, boundary_check=(0, 1), padding_option="zero").to(tl.float32)
        b_up = tl.load(p_up, boundary_check=(0, 1), padding_option="zero").to(tl.float32)
        b_y = b_gate * tl.sigmoid(b_gate) * b_up
        tl.store(p_y, b_y.to(p_y.dtype.element_ty), boundary_check=(0, 1))
        p_gate = tl.advance(p_gate, (0, COLS))
        p_up = tl.advance(p_up, (0, COLS))
        p_y = tl.advance(p_y, (0, COLS))
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
    if y.numel() == 0:
        return y
    rows = y.unsqueeze(0) if y.dim() < 2 else y.flatten(0, -2)
    (n_rows, n_cols), (stride_m, stride_n) = (rows.view(1, -1) if rows.dim() < 2 else rows).shape, (
        y.shape[-1] if y.dim() else 1,
        1,
    )
    with device_of(gate):
        _swiglu_fwd[(triton.cdiv(n_rows, ROWS),)](
            y, gate, up, n_rows, n_cols, stride_m, stride_n, ROWS=ROWS, COLS=COLS
        )
""",
        ),
    ]
}
