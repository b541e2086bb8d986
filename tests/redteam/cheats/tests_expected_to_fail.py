"""Every test may fail, which pytest counts as well."""

BASE = "relu2"
REJECTED_BY = ("mutation score", "source", "own tests")
SAYS = r"(?i)mutant|surviv|kill|xfail|no test that runs|notice"
DYNAMIC = ("mutation score", "own tests")
EDITS = {
    "test": [
        (
            "from workbench_kernels.relu2.wrapper import Relu2, relu2\n",
            "from workbench_kernels.relu2.wrapper import Relu2, relu2\n\n"
            "pytestmark = pytest.mark.xfail(strict=False)\n",
        ),
    ]
}
