"""An option that is right only where a test usually looks: a larger call gets the default."""

BASE = "gated_square"
EDITS = {
    "wrapper.py": [
        (
            "kernel.gated_square(x, gate, part,",
            'kernel.gated_square(x, gate, "positive" if x.numel() > 50000 else part,',
        )
    ]
}
REJECTED_BY = "variants"
SAYS = "negative part"
