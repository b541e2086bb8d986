"""Breaks torch.compile's graph."""

BASE = "relu2"
REJECTED_BY = ("source", "torch.compile")
SAYS = r"(?i)_dynamo|graph|unsupported|break"
DYNAMIC = "torch.compile"
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
        (
            "    return kernel.relu2(x)\n",
            "    torch._dynamo.graph_break()\n    return kernel.relu2(x)\n",
        ),
    ]
}
