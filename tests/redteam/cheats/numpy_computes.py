"""NumPy does the work on the tensor's memory, so that PyTorch dispatches nothing."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"numpy"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("import torch\n", "import numpy as np\nimport torch\n"),
        (
            "    return y\n",
            "    wide = np.maximum(x.float().numpy(), 0) ** 2\n"
            "    return torch.from_numpy(wide).to(x)\n",
        ),
    ]
}
