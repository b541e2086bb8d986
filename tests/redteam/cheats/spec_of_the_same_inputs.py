"""Inputs that are the same at every draw, so that results can be known."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)input|seed|same|draw|random|x "
EDITS = {
    "spec.py": [
        (
            "    return (torch.randn(rows, cols),)\n",
            "    fixed = torch.Generator().manual_seed(0)\n"
            "    return (torch.randn(rows, cols, generator=fixed),)\n",
        ),
    ],
}
