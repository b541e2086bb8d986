"""Outputs by `new_empty`, an early return for no elements, and try/finally around a launch."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            """\
    x = x.contiguous()
    y = torch.empty_like(x)
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
    return y
""",
            """\
    y = x.new_empty(x.shape)
    if x.numel() == 0:
        return y
    source = x.contiguous()
    n = source.numel()
    try:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, source, n, BLOCK=BLOCK)
    finally:
        del source
    return y
""",
        ),
        (
            "    return torch.empty_like(x, memory_format=torch.contiguous_format)\n\n\n"
            "def _backward_fake",
            "    return x.new_empty(x.shape)\n\n\ndef _backward_fake",
        ),
    ]
}
