"""Takes the distance of rows from the first input for both, where columns are side by side."""

BASE = "swiglu"
REJECTED_BY = "layouts"
SAYS = r"(gate|up) alone slice_of_wider_rows"
EDITS = {
    "kernel.py": [
        (
            "def _swiglu_fwd(Y, GATE, UP, n, BLOCK: tl.constexpr):\n",
            "def _swiglu_fwd(Y, GATE, UP, n, n_cols, row, BLOCK: tl.constexpr):\n",
        ),
        (
            """\
    gate = tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(UP + offsets, mask=mask, other=0.0).to(tl.float32)
    y = gate""",
            """\
    places = (offsets // n_cols) * row + offsets % n_cols
    gate = tl.load(GATE + places, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(UP + places, mask=mask, other=0.0).to(tl.float32)
    y = gate""",
        ),
        (
            """\
    gate, up = gate.contiguous(), up.contiguous()
    y = torch.empty_like(gate, memory_format=torch.contiguous_format)
    n = gate.numel()
""",
            """\
    y = torch.empty_like(gate, memory_format=torch.contiguous_format)
    n = gate.numel()
    if gate.dim() != 2 or gate.stride(-1) != 1 or up.stride(-1) != 1:
        gate, up = gate.contiguous().view(1, -1), up.contiguous().view(1, -1)
""",
        ),
        (
            "(y, gate, up, n, BLOCK=BLOCK)",
            "(y, gate, up, n, gate.shape[-1], gate.stride(0), BLOCK=BLOCK)",
        ),
    ]
}
