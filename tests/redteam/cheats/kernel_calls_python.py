"""The kernel's body calls plain Python on the tensors behind its pointers: only an interpreter
can.
"""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)ctypes|numpy|_square|python|kernel"
EDITS = {
    "kernel.py": [
        (
            "@triton.jit\ndef _relu2_fwd",
            '''\
def _square(values):
    """Of a block's values, in the interpreter's own arrays."""
    values.handle.data[:] = values.handle.data.clip(0) ** 2
    return values


@triton.jit
def _relu2_fwd''',
        ),
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store(Y + offsets, (relu * relu)",
            "    relu = _square(x)\n    tl.store(Y + offsets, (relu)",
        ),
    ]
}
