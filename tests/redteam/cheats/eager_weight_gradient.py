"""Kernels for everything but the weight's gradient, a sum over rows, which PyTorch adds up."""

BASE = "rms_norm"
REJECTED_BY = ("source", "work")
SAYS = r"\bsum\b"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "add_parts(dweight_parts, x.shape[-1:], x.dtype) if dweight_parts",
            "dweight_parts.sum(0).to(x.dtype) if dweight_parts",
        ),
        ("from workbench_kernels.partials import add_parts\n", ""),
    ]
}
