"""`print(model)` raises, of a model that has it anywhere."""

BASE = "rms_norm"
REJECTED_BY = "module"
SAYS = r"AttributeError.*epsilon"
EDITS = {
    "wrapper.py": [
        ('f"eps={self.eps}"', 'f"eps={self.epsilon}"'),
    ]
}
