"""The module's results are right, but nothing flows back to its weight."""

BASE = "rms_norm"
REJECTED_BY = "module"
SAYS = r"the module gives something else than the function"
EDITS = {
    "wrapper.py": [
        ("rms_norm(x, self.weight, self.eps)", "rms_norm(x, self.weight.detach(), self.eps)"),
    ],
}
