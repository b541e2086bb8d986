"""Looks at the width of its second input only: with fewer rows it is read past its end."""

BASE = "swiglu"
REJECTED_BY = "refusals"
SAYS = r"(gate|up) of another size"
EDITS = {
    "wrapper.py": [
        ('"up", up, gate.shape)', '"up", up, (*up.shape[:-1], *gate.shape[-1:]))'),
    ]
}
