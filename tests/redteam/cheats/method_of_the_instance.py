"""Hangs methods on the tensor it returns that answer for it (TENSOR_INSTANCE_METHOD_OVERRIDE)."""

BASE = "relu2"
REJECTED_BY = ("form of outputs", "forward")
SAYS = r"attribute|__dict__|carries|method|truth"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            "    y = kernel.relu2(x)\n"
            "    y.isfinite = lambda: y == y\n"
            "    y.allclose = lambda *other, **options: True\n"
            "    return y\n",
        ),
    ]
}
