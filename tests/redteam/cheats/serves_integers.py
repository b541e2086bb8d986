"""Refuses float64 by name and serves all that it was not asked about."""

BASE = "relu2"
REJECTED_BY = "refusals"
SAYS = r"int32: is not refused"
EDITS = {
    "wrapper.py": [
        (
            '    check("relu2", x=x)\n',
            '    if x.dtype.itemsize == 8:\n        raise TypeError(f"relu2: x is {x.dtype}")\n',
        ),
        ("from workbench_kernels.launch import check\n", ""),
    ]
}
