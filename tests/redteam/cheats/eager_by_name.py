"""The same, with the names put together when it runs."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"getattr"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            '    return getattr(getattr(torch, "re" + "lu")(x), "squ" + "are")()\n',
        ),
    ]
}
