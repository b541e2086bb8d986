"""The module is another implementation than the function that is checked."""

BASE = "relu2"
REJECTED_BY = ("module", "source")
SAYS = r"module|function|relu|square|\*"
DYNAMIC = "module"
EDITS = {
    "wrapper.py": [
        ("        return relu2(x)\n", "        return kernel.relu2(x) + x.new_ones(x.shape)\n"),
    ]
}
