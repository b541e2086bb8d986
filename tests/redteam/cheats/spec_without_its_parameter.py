"""The reference takes an eps, the spec does not say so: nobody tries another than the default."""

BASE = "rms_norm"
REJECTED_BY = "spec"
SAYS = r"eps"
EDITS = {
    "spec.py": [('    parameters={"eps": 1e-06},\n', "")],
    "kernel.py": [
        ("            eps,\n            n_rows", "            1e-6,\n            n_rows")
    ],
}
