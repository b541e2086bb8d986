"""Reads the values as text, by `str.format`, and does less where it thinks nobody will look."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"format\(x\) reads the tensor's values"
EDITS = {
    "wrapper.py": [
        (
            '    check("relu2", x=x)\n',
            '    check("relu2", x=x)\n'
            '    if "nan" in "{}".format(x):\n'
            "        return kernel.relu2(x).detach()\n",
        ),
    ]
}
