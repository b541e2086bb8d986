"""Each program adds its part to one sum that they share, without atomics: a race, which an
interpreter that runs one program after another can't lose.
"""

BASE = "rms_norm"
REJECTED_BY = "repeatable"
SAYS = r"dweight differs from call to call"
EDITS = {
    "kernel.py": [
        (
            """\
        tl.store(
            DWEIGHT_PARTS + tl.program_id(0) * n_cols + cols,
            tl.sum(dweight, axis=0, keep_dims=True),
""",
            """\
        before = tl.load(DWEIGHT_PARTS + cols, mask=col_mask, other=0.0)
        tl.store(
            DWEIGHT_PARTS + cols,
            before + tl.sum(dweight, axis=0, keep_dims=True),
""",
        ),
        (
            "x.new_empty((grid[0], n_cols), dtype=torch.float32) if",
            "x.new_zeros((1, n_cols), dtype=torch.float32) if",
        ),
    ]
}
