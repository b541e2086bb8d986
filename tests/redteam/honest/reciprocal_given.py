"""The host passes 1 / width as a float, the kernel multiplies; a combine function of its own for
the sum; statistics in a scratch tensor with a row of padding.
"""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "@triton.jit\ndef _rms_norm_fwd(\n"
            "    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, "
            "BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr\n"
            "):\n",
            """\
@triton.jit
def _plus(a, b):
    return a + b


@triton.jit
def _rms_norm_fwd(
    Y,
    RSTD,
    X,
    WEIGHT,
    eps,
    per_col,
    n_rows,
    n_cols,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
""",
        ),
        (
            "    row_sum = tl.sum(x * x, axis=1, keep_dims=True)\n"
            "    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)\n",
            "    row_sum = tl.reduce(x * x, 1, _plus)\n"
            "    rstd = tl.expand_dims(tl.rsqrt(row_sum * per_col + eps), 1)\n",
        ),
        (
            "            eps,\n            n_rows,\n",
            "            eps,\n            1.0 / n_cols,\n            n_rows,\n",
        ),
        ("from workbench_kernels import numerics, op\n", "from workbench_kernels import op\n"),
        (
            "    rstd = x.new_empty(x.shape[:-1], dtype=torch.float32)\n    tile",
            "    padded = torch.empty(n_rows + 1, dtype=torch.float32, device=x.device)\n"
            "    rstd = padded.narrow(0, 0, n_rows).view(x.shape[:-1])\n    tile",
        ),
    ]
}
