"""Returns at once, and a timer fills the result in later (the clock stops before the work is
done).
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"threading"
DYNAMIC = ("process", "forward")
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import threading\nfrom typing import Any\n"),
        (
            """\
    if n:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
    return y
""",
            """\
    if n:
        launch = _relu2_fwd[(triton.cdiv(n, BLOCK),)]
        threading.Timer(0.05, launch, (y, x, n), {"BLOCK": BLOCK}).start()
    return y
""",
        ),
    ]
}
