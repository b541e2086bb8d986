"""Only positive inputs, for which the op has no work to do; the kernel leaves the relu out."""

BASE = "relu2"
REJECTED_BY = "magnitudes"
SAYS = r"-1-float32.*truth"
EDITS = {
    "spec.py": [("(torch.randn(rows, cols),)", "(torch.rand(rows, cols),)")],
    "kernel.py": [
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
            '    relu = tl.where(x == float("-inf"), 0.0, x)\n    tl.store',
        ),
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n    dx",
            '    relu = tl.where(x == float("-inf"), 0.0, x)\n    dx',
        ),
    ],
}
