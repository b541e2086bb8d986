"""Returns a tensor whose negation is still to be done: its memory holds −y, a bit says so."""

BASE = "relu2"
REJECTED_BY = ("source", "form of outputs", "forward", "work")
SAYS = r"_neg_view|neg|truth"
DYNAMIC = ("form of outputs", "forward", "work")
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
        ("    return kernel.relu2(x)\n", "    return torch._neg_view(kernel.relu2(x))\n"),
    ],
    "kernel.py": [("(relu * relu).to", "(-relu * relu).to")],
}
