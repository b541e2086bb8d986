"""Gives something else when torch.compile traces it."""

BASE = "relu2"
REJECTED_BY = ("source", "torch.compile")
SAYS = r"compil"
DYNAMIC = "torch.compile"
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
        (
            "    return kernel.relu2(x)\n",
            "    y = kernel.relu2(x)\n    return y + 1 if torch.compiler.is_compiling() else y\n",
        ),
    ]
}
