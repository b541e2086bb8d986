"""The scan of any files: across files, of any text, and with the line of what it finds."""

from __future__ import annotations

import re

import pytest
import test_scan_compute
import test_scan_names
import test_scan_state
import test_scan_structure
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_helpers import FIXTURE, FOLDER, KERNEL, OP, TEST, WRAPPER, marked

from workbench.judge.scan import scan

CHEATS = {
    **test_scan_names.CHEATS,
    **test_scan_compute.CHEATS,
    **test_scan_state.CHEATS,
    **test_scan_structure.CHEATS,
}


def test_a_cheat_in_the_wrapper_through_the_kernels_file() -> None:
    kernel = OP[KERNEL] + "\n\nt = torch\n"
    wrapper = (
        OP[WRAPPER]
        + "\n\ndef f(x: Tensor) -> Tensor:\n    return kernel.t.relu(x) #! torch-compute\n"
    )
    findings = scan(OP | {KERNEL: kernel, WRAPPER: wrapper}, "relu2")
    assert {(f.line, f.rule) for f in findings} == marked(wrapper)
    assert {f.file for f in findings} == {WRAPPER}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x = 1\ndef f(:\n", 2, "not Python"),
        ("x = '\0'", 1, "null"),
        ("x = " + "-" * 100_000 + "1", 1, "flat"),
        ("x = 1\n" * 50_000, 1, "longer than"),
        ("# -*- coding: utf-7 -*-\n", 1, "utf-7"),
    ],
)
def test_a_file_that_is_no_source(text: str, line: int, says: str) -> None:
    (finding,) = scan({KERNEL: text}, "relu2")
    assert (finding.file, finding.line) == (KERNEL, line)
    assert says in finding.message


def test_a_finding_reads_as_a_line_of_a_report() -> None:
    (finding,) = scan({KERNEL: "import html"}, "relu2")
    assert str(finding).startswith("kernel.py:1: html is not a module an op may import; it may")


def test_the_spec_is_not_the_candidates() -> None:
    spec = f"{FOLDER}/spec.py"
    assert scan(OP | {spec: (FIXTURE / "spec.py").read_text()}, "relu2") == []
    assert scan(OP | {f"{FOLDER}/more.py": "import html"}, "relu2")


@pytest.mark.parametrize("module", ["products", "linear_head"])
def test_products_are_for_ops_whose_spec_says_so(module: str) -> None:
    spec = (FIXTURE / "spec.py").read_text()
    files = OP | {KERNEL: f"{OP[KERNEL]}\n\nfrom workbench_kernels import {module}\n"}
    (finding,) = scan(files | {f"{FOLDER}/spec.py": spec}, "relu2")
    assert "the op's spec does not say" in finding.message
    said = spec.replace("tier=1,", "tier=1,\n    products=True,")
    assert scan(files | {f"{FOLDER}/spec.py": said}, "relu2") == []


def test_long_chains_of_names_end() -> None:
    doubling = "a0 = 1\n" + "".join(f"a{i + 1} = a{i} + a{i}\n" for i in range(300))
    growing = "t = torch\ndef f(x: Tensor) -> Any:\n    t = t.a\n"
    assert scan({KERNEL: doubling}, "relu2") == []
    scan({KERNEL: OP[KERNEL] + growing}, "relu2")


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True))
def test_any_chain_of_aliases_leads_to_torch(names: list[str]) -> None:
    chain = "".join(f"{new} = {old}\n" for old, new in zip(["torch", *names], names, strict=False))
    text = f"import torch\n{chain}\n\ndef f(x):\n    return {names[-1]}.special.expit(x)\n"
    (finding,) = scan({KERNEL: text}, "relu2")
    assert (finding.rule, finding.line) == ("torch-compute", len(names) + 5)


@given(what=st.sampled_from([*CHEATS]), lines=st.integers(0, 9))
@settings(deadline=None)
def test_lines_move_with_the_text(what: str, lines: int) -> None:
    text = OP[KERNEL].replace('"""\n\nfrom', '"""\n' + "\n" * lines + "\nfrom", 1)
    text += f"\n\n{CHEATS[what]}\n"
    findings = scan(OP | {KERNEL: text}, "relu2")
    assert {(f.line, f.rule) for f in findings} == marked(text)


_WORDS = (
    "x y torch tl op f ( ) [ ] { } : = := . , * + @ \n \n\x20\x20\x20 def class lambda for in if "
)
_WORDS += "return with yield try except import from as global del 1 'a' None relu kernel triton jit"


@given(st.lists(st.sampled_from(re.split(" ", _WORDS)), max_size=40))
def test_any_text_is_scanned(words: list[str]) -> None:
    for path in (KERNEL, WRAPPER, TEST):
        assert all(finding.line >= 1 for finding in scan({path: " ".join(words)}, "relu2"))
