"""Right in up to four dimensions; a fifth and the output is left as it was allocated."""

BASE = "relu2"
REJECTED_BY = "leading dimensions"
SAYS = r"truth|zero"
EDITS = {
    "kernel.py": [
        (
            "    y = torch.empty_like(x)\n    n = x.numel()\n    if n:\n",
            "    y = torch.zeros_like(x)\n    n = x.numel()\n    if n and x.dim() < 5:\n",
        ),
    ]
}
