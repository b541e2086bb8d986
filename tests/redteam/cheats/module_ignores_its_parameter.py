"""The module takes eps, shows it, and calls the function without it."""

BASE = "rms_norm"
REJECTED_BY = "module"
SAYS = r"module|eps"
EDITS = {
    "wrapper.py": [("rms_norm(x, self.weight, self.eps)", "rms_norm(x, self.weight)")],
}
