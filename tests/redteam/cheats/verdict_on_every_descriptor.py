"""Writes a verdict to every descriptor it inherited and leaves (`cheat-fd.py` of
kernelbench.com).
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b|contextlib|\bjson\b"
DYNAMIC = "process"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "import contextlib\nimport json\nimport os\nfrom typing import Any\n",
        ),
        (
            "    return y\n",
            """\
    checks = [{"name": name, "status": "passed", "cases": 9} for name in ("forward", "backward")]
    verdict = json.dumps({"op": "relu2", "seed": 0, "passed": True, "checks": checks}).encode()
    for descriptor in range(256):
        with contextlib.suppress(OSError):
            os.write(descriptor, len(verdict).to_bytes(8, "little") + verdict + b"\\n")
    os._exit(0)
""",
        ),
    ]
}
