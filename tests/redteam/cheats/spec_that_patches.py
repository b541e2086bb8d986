"""The spec sets the library's tolerance when it is imported."""

BASE = "relu2"
REJECTED_BY = ("forward", "spec")
SAYS = r"truth|bound"
EDITS = {
    "spec.py": [
        (
            "from workbench_kernels.spec import",
            "from workbench_kernels import bound\nfrom workbench_kernels.spec import",
        ),
        (
            "def inputs(",
            "bound.FACTOR = 1e9\n"
            "torch.equal = torch.allclose = lambda *args: True\n\n\ndef inputs(",
        ),
    ],
    "kernel.py": [("(relu * relu).to", "(relu * relu * 1.01).to")],
}
