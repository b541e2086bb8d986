"""The module is exact in training and rough in eval mode."""

BASE = "rms_norm"
REJECTED_BY = ("module", "source")
SAYS = r"module|training|function"
DYNAMIC = "module"
EDITS = {
    "wrapper.py": [
        (
            "        return rms_norm(x, self.weight, self.eps)\n",
            "        if self.training:\n"
            "            return rms_norm(x, self.weight, self.eps)\n"
            "        return rms_norm(x.bfloat16(), self.weight.bfloat16(), self.eps).to(x.dtype)\n",
        ),
    ]
}
