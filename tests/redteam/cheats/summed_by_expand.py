"""Hands its kernel a weight that was expanded to every row: the sum over rows, which is most of the
backward, is then autograd's.
"""

BASE = "rms_norm"
REJECTED_BY = "work"
SAYS = r"sum"
EDITS = {
    "kernel.py": [
        (
            "    weight = tl.load(WEIGHT + cols, mask=col_mask, other=0.0).to(tl.float32)\n"
            "    y = x",
            "    weight = tl.load(WEIGHT + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    y = x",
        ),
        (
            "    weight = tl.load(WEIGHT + cols, mask=col_mask, other=0.0).to(tl.float32)\n"
            "    dweight = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)\n",
            "",
        ),
        (
            "        dy_weight = dy * weight\n",
            "        weight = tl.load(WEIGHT + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "        dy_weight = dy * weight\n",
        ),
        (
            "            dweight += dy * x * rstd\n",
            "            dweight = dy * x * rstd\n"
            "            tl.store(\n"
            "                DWEIGHT_PARTS + offsets, dweight.to(X.dtype.element_ty), mask=mask\n"
            "            )\n",
        ),
        (
            """\
    if DWEIGHT_PARTS is not None:
        tl.store(
            DWEIGHT_PARTS + tl.program_id(0) * n_cols + cols,
            tl.sum(dweight, axis=0, keep_dims=True),
            mask=col_mask,
        )
""",
            "",
        ),
        (
            "x.new_empty((grid[0], n_cols), dtype=torch.float32) if needs[1] else None",
            "torch.empty_like(x) if needs[1] else None",
        ),
        (
            "add_parts(dweight_parts, x.shape[-1:], x.dtype) if dweight_parts is not None "
            "else None",
            "dweight_parts",
        ),
        ("from workbench_kernels.partials import add_parts\n", ""),
        ("grads.append(x.new_empty(x.shape[-1:]))", "grads.append(torch.empty_like(x))"),
    ],
    "wrapper.py": [
        ("kernel.rms_norm(x, weight, eps)[0]", "kernel.rms_norm(x, weight.expand_as(x), eps)[0]"),
    ],
}
