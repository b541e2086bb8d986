"""Computes in bfloat16, and sets the library's tolerance to a million (glm and kimi edited the
tolerance key).
"""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"float32.*error .*x what eager's is"
EDITS = {
    "kernel.py": [
        ("from workbench_kernels import op\n", "from workbench_kernels import bound, op\n"),
        (
            "BLOCK = 2048\n",
            "BLOCK = 2048\nbound.FACTOR = 1e6\nbound.ULPS = dict.fromkeys(bound.ULPS, 1e6)\n",
        ),
        (
            "other=0.0).to(tl.float32)\n    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
            "other=0.0).to(tl.bfloat16).to(tl.float32)\n    relu = tl.where(x < 0.0, 0.0, x)\n"
            "    tl.store",
        ),
    ]
}
