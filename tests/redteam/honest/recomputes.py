"""The backward computes 1/√(mean(x²) + eps) again: the forward saves its inputs and nothing
else.
"""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            """\
    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr
""",
            """\
    Y, X, WEIGHT, eps, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr
""",
        ),
        ("    tl.store(RSTD + rows, rstd, mask=row_mask)\n", ""),
        ("    WEIGHT,\n    RSTD,\n    n_rows,", "    WEIGHT,\n    eps,\n    n_rows,"),
        (
            "        rstd = tl.load(RSTD + rows, mask=row_mask, other=0.0).to(tl.float32)\n",
            "        mean = numerics.divide(tl.sum(x * x, axis=1, keep_dims=True), n_cols)\n"
            "        rstd = tl.rsqrt(mean + eps)\n",
        ),
        (
            "eps: float) -> tuple[Tensor, Tensor]:\n"
            '    """The outputs, then what the backward needs of'
            ' each row."""',
            'eps: float) -> Tensor:\n    """Launch the forward kernel over all rows."""',
        ),
        ("    rstd = x.new_empty(x.shape[:-1], dtype=torch.float32)\n    tile", "    tile"),
        ("            y,\n            rstd,\n", "            y,\n"),
        ("    return y, rstd\n", "    return y\n"),
        (
            "    dy: Tensor, x: Tensor, weight: Tensor, rstd: Tensor, needs: list[bool]\n"
            ') -> list[Tensor]:\n    """The',
            "    dy: Tensor, x: Tensor, weight: Tensor, eps: float, needs: list[bool]\n"
            ') -> list[Tensor]:\n    """The',
        ),
        ("            weight,\n            rstd,\n", "            weight,\n            eps,\n"),
        (
            """\
def _forward_fake(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(
        x.shape[:-1], dtype=torch.float32
    )
""",
            """\
def _forward_fake(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
""",
        ),
        (
            """\
    dy: Tensor, x: Tensor, weight: Tensor, rstd: Tensor, needs: list[bool]
) -> list[Tensor]:
    grads = []
""",
            """\
    dy: Tensor, x: Tensor, weight: Tensor, eps: float, needs: list[bool]
) -> list[Tensor]:
    grads = []
""",
        ),
        (
            """\
    x, weight, _eps = inputs
    _y, rstd = output
    ctx.save_for_backward(x, weight, rstd)
    ctx.mark_non_differentiable(rstd)
""",
            """\
    x, weight, ctx.eps = inputs
    ctx.save_for_backward(x, weight)
""",
        ),
        (
            "def _differentiate(ctx: Any, dy: Tensor, _drstd: None)",
            "def _differentiate(ctx: Any, dy: Tensor)",
        ),
        ("    x, weight, rstd = ctx.saved_tensors\n", "    x, weight = ctx.saved_tensors\n"),
        (
            "rms_norm_backward(dy, x, weight, rstd, needs)",
            "rms_norm_backward(dy, x, weight, ctx.eps, needs)",
        ),
    ],
    "wrapper.py": [("kernel.rms_norm(x, weight, eps)[0]", "kernel.rms_norm(x, weight, eps)")],
}
