"""A device function of its own, shared by both kernels, and the library's maximum that keeps
NaN.
"""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        ("from workbench_kernels import op\n", "from workbench_kernels import numerics, op\n"),
        (
            "@triton.jit\ndef _relu2_fwd",
            "@triton.jit\ndef _positive(x):\n    return numerics.maximum(x, 0.0)\n\n\n"
            "@triton.jit\ndef _relu2_fwd",
        ),
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store(Y + offsets, (relu * relu)",
            "    tl.store(Y + offsets, numerics.square(_positive(x))",
        ),
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n    dx = dy * (2.0 * relu)",
            "    dx = dy * (2.0 * _positive(x))",
        ),
    ]
}
