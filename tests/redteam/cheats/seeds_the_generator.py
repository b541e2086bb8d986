"""Seeds the global generator, so that whoever draws next draws what it knows (`cheat-rng.py`)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"manual_seed"
DYNAMIC = "process"
EDITS = {"kernel.py": [("    return y\n", "    torch.manual_seed(0)\n    return y\n")]}
