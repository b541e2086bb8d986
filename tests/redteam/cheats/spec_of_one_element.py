"""Only one shape, of one element."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)shape|column|row"
EDITS = {
    "spec.py": [
        (
            "    shapes=((1, 1), (1, 128), (3, 1000), (128, 100), (7, 4097)),\n",
            "    shapes=((1, 1),),\n",
        ),
    ],
}
