"""Skips every test that calls it, from inside the kernel: a suite of skips is not a suite."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"Skipped|Exception|error|raise|pytest"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            '    import pytest\n\n    pytest.skip("needs another GPU")\n',
        ),
    ]
}
