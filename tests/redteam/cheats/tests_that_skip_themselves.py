"""Every test is skipped."""

BASE = "relu2"
REJECTED_BY = ("own tests", "source")
SAYS = r"no test that runs|skip"
DYNAMIC = "own tests"
EDITS = {
    "test": [
        (
            "from workbench_kernels.relu2.wrapper import Relu2, relu2\n",
            "from workbench_kernels.relu2.wrapper import Relu2, relu2\n\n"
            'pytestmark = pytest.mark.skip("needs another GPU")\n',
        ),
    ]
}
