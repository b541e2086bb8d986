"""Registers its kernel over `aten::square`: every reference in this process calls the candidate."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"aten|Library"
EDITS = {
    "kernel.py": [
        (
            'op.autograd("relu2", save=_save, backward=_differentiate)\n',
            'op.autograd("relu2", save=_save, backward=_differentiate)\n'
            'ATEN = torch.library.Library("aten", "IMPL")\n'
            'ATEN.impl("square", forward, "CPU")\n',
        ),
    ]
}
