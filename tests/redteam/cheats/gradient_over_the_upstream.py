"""Writes its gradient over the one it was sent, which another branch of the graph still needs."""

BASE = "relu2"
REJECTED_BY = "inputs unchanged"
SAYS = r"upstream"
EDITS = {
    "kernel.py": [
        (
            "    dx = torch.empty_like(x) if needs[0] else None\n",
            "    dx = dy if needs[0] else None\n",
        ),
    ]
}
