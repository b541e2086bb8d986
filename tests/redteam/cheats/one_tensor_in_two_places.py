"""Takes what it is given twice for one: wrong where both inputs are the same tensor."""

BASE = "swiglu"
REJECTED_BY = "layouts"
SAYS = r"gate and up one tensor: dgate"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.swiglu(gate, up)\n",
            "    if gate is up:\n"
            "        return kernel.swiglu(gate, torch.ones_like(up))\n"
            "    return kernel.swiglu(gate, up)\n",
        ),
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
    ]
}
