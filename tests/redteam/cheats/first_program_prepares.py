"""The first program fills what the others read: right where it happens to be first."""

BASE = "rms_norm"
REJECTED_BY = ("unseen shapes", "forward")
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            """\
    y = x * rstd * weight
    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)
    tl.store(RSTD + rows, rstd, mask=row_mask)
""",
            """\
    if tl.program_id(0) == 0:
        tl.store(SHARED, 1.0)
    y = x * rstd * weight * tl.load(SHARED)
    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)
    tl.store(RSTD + rows, rstd, mask=row_mask)
""",
        ),
        ("    Y, RSTD, X, WEIGHT, eps,", "    Y, SHARED, RSTD, X, WEIGHT, eps,"),
        (
            "            y,\n            rstd,\n            x,",
            "            y,\n            x.new_zeros(1, dtype=torch.float32),\n            rstd,\n"
            "            x,",
        ),
    ]
}
