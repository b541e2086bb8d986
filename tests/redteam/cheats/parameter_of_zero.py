"""Takes a parameter of zero for one that was not given."""

BASE = "rms_norm"
REJECTED_BY = "parameters"
SAYS = r"eps=0.*truth"
EDITS = {
    "spec.py": [
        ("weight: Tensor, eps: float = 1e-6)", "weight: Tensor, eps: float = 0.5)"),
        ('parameters={"eps": 1e-06}', 'parameters={"eps": 0.5}'),
    ],
    "wrapper.py": [
        ("weight: Tensor, eps: float = 1e-06)", "weight: Tensor, eps: float = 0.5)"),
        ("width: int, eps: float = 1e-06)", "width: int, eps: float = 0.5)"),
        (
            "    return kernel.rms_norm(x, weight, eps)[0]\n",
            "    return kernel.rms_norm(x, weight, eps or 0.5)[0]\n",
        ),
    ],
}
