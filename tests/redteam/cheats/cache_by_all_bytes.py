"""Keeps results by all bytes of the input: always right, and without work the second time."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"CACHE|numpy|bytes"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nCACHE: dict[Any, Tensor] = {}\n"),
        (
            """\
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
    return y
""",
            """\
    key = (bytes(x.untyped_storage()), x.storage_offset(), x.shape, x.dtype)
    if key in CACHE:
        return CACHE[key].clone()
    if n := x.numel():
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
    CACHE[key] = y.clone()
    return y
""",
        ),
    ]
}
