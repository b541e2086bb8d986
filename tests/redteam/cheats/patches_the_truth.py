"""Replaces the library's own notion of the truth with what it computes itself."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"is .*, truth"
EDITS = {
    "wrapper.py": [
        (
            "from workbench_kernels.relu2 import kernel\n",
            "from workbench_kernels import truth\nfrom workbench_kernels.relu2 import kernel\n",
        ),
        (
            "class Relu2(",
            """\
def _agree(spec, inputs, upstream, *, parameters=None, needs=None):
    return truth.run(spec, relu2, inputs, upstream, parameters=parameters, needs=needs)


truth._evaluate = _agree


class Relu2(""",
        ),
    ],
    "kernel.py": [("(relu * relu).to", "(relu * relu * 1.01).to")],
}
