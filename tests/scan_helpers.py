"""What the scan's tests share: an honest op, and snippets to follow one of its files.

A line of a snippet that must be found ends in `#!` and the rules it breaks.
"""

from __future__ import annotations

from pathlib import Path

from workbench.judge.scan import Finding, scan

FIXTURE = Path(__file__).parent / "fixtures" / "relu2"
FOLDER = "kernels/workbench_kernels/relu2"
KERNEL, WRAPPER = f"{FOLDER}/kernel.py", f"{FOLDER}/wrapper.py"
TEST = "tests/kernels/test_relu2.py"

OP = {
    KERNEL: (FIXTURE / "kernel.py").read_text(),
    WRAPPER: (FIXTURE / "wrapper.py").read_text(),
    TEST: (FIXTURE / "tests_of_relu2.py").read_text(),
}


def sections(text: str) -> dict[str, str]:
    """Snippets by name, each below a line `--- name`."""
    parts = [part.split("\n", 1) for part in text.split("--- ")[1:]]
    return {name: snippet.strip() for name, snippet in parts}


def scanned(path: str, addition: str) -> tuple[str, list[Finding]]:
    """The file with the addition after its own text, and what is found in the op."""
    text = f"{OP[path]}\n\n{addition}\n"
    return text, scan(OP | {path: text}, "relu2")


def marked(text: str) -> set[tuple[int, str]]:
    lines = enumerate(text.splitlines(), 1)
    return {(n, rule) for n, line in lines if "#!" in line for rule in line.split("#!")[1].split()}


def check_found(path: str, addition: str) -> None:
    text, findings = scanned(path, addition)
    assert {f.file for f in findings} == {path}
    found = {(f.line, f.rule): str(f) for f in findings}
    assert set(found) == marked(text), "\n".join(found.values())
