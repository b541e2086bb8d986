"""Sets its input to zero, for which zeros are right (`cheat-input.py`)."""

BASE = "relu2"
REJECTED_BY = ("forward", "inputs unchanged")
SAYS = r"zero everywhere|x is changed"
DYNAMIC = "inputs unchanged"
EDITS = {
    "kernel.py": [
        (
            "    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)\n",
            "    tl.store(Y + offsets, (relu * 0.0).to(Y.dtype.element_ty), mask=mask)\n"
            "    tl.store(X + offsets, (relu * 0.0).to(X.dtype.element_ty), mask=mask)\n",
        ),
    ]
}
