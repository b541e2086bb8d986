"""Right for the first ten calls, then it drifts (llm.c pull request 852)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"CALLS|itertools|count|append"
DYNAMIC = ("forward", "repeatable", "backward")
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nCALLS: list[int] = []\n"),
        (
            "    return y\n",
            "    CALLS.append(1)\n    return y if len(CALLS) <= 10 else torch.zeros_like(y)\n",
        ),
    ]
}
