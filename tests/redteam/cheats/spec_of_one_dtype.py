"""Only float16, where an error is hardest to tell from rounding."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"dtype|float"
EDITS = {
    "spec.py": [
        ("    sweep=", "    dtypes=(torch.float16,),\n    sweep="),
    ],
}
