"""Its change also edits the library's testing, so that its tests pass while it computes nothing."""

BASE = "relu2"
REJECTED_BY = ("own tests", "forward")
SAYS = r"zero everywhere"
EDITS = {
    "../testing.py": [
        (
            "    if wrong := [c.message for c in compare(got, expected) if c.message]:",
            "    if wrong := []:",
        ),
    ],
    "kernel.py": [("(relu * relu).to", "(relu * 0.0).to")],
}
