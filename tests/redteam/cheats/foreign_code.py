"""Calls the C library on the tensor's address: work that no hook of PyTorch or Triton sees."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"ctypes"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import array\nimport ctypes\nfrom typing import Any\n"),
        (
            "    n = x.numel()\n    if n:\n        with device_of(x):\n            _relu2_fwd",
            """\
    if x.dtype is torch.float32:
        values = array.array("f", ctypes.string_at(x.data_ptr(), 4 * x.numel()))
        values = array.array("f", [v * v if v > 0 or v != v else 0.0 for v in values])
        ctypes.memmove(y.data_ptr(), values.tobytes(), 4 * x.numel())
        return y
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_fwd""",
        ),
    ]
}
