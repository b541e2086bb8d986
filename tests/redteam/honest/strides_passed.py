"""Rows and columns by their strides: a transposed or sliced input is read where it lies."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            """\
def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
""",
            """\
def _relu2_fwd(Y, X, n, n_cols, row_stride, col_stride, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    places = (offsets // n_cols) * row_stride + (offsets % n_cols) * col_stride
    x = tl.load(X + places, mask=mask, other=0.0).to(tl.float32)
""",
        ),
        (
            """\
    x = x.contiguous()
    y = torch.empty_like(x)
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
""",
            """\
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    n = x.numel()
    rows = x if x.dim() == 2 else x.contiguous().view(1, -1)
    if n:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](
                y, rows, n, rows.shape[1], rows.stride(0), rows.stride(1), BLOCK=BLOCK
            )
""",
        ),
    ]
}
