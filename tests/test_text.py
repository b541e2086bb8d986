"""Text that nobody vouches for, and where it must arrive in lines of its own."""

from __future__ import annotations

from pathlib import Path

from court import write_fixture
from hypothesis import given
from hypothesis import strategies as st

from workbench import judge
from workbench.bench.static import StaticReport
from workbench.judge.verdict import Check
from workbench.text import LONGEST_LINE, MOST_LINES, printable, printable_lines


@given(st.text())
def test_what_is_printed_stays_in_its_line(text: str) -> None:
    assert len(printable(text).splitlines()) <= 1
    assert printable(text).isprintable()
    lines = printable_lines(text).split("\n")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == min(text.count("\n"), MOST_LINES) + 1


def test_long_text_is_cut_and_says_so() -> None:
    lines = printable_lines("\n".join(["x" * 5000] * 150)).split("\n")
    assert lines[-1] == "... and 50 more lines"
    assert {len(line) for line in lines[:-1]} == {LONGEST_LINE}
    assert lines[0].endswith("x ...")


def test_messages_of_checks_and_compilers_are_fit_to_print() -> None:
    assert Check(name="source", status="failed", message="a\x1b[2J\nb").message == "a\ufffd[2J\nb"
    report = {"op": "x", "triton": "3", "torch": "2", "targets": [], "dtypes": []}
    assert StaticReport.model_validate({**report, "failures": ["\r"]}).failures == ("\ufffd",)


def test_colours_are_left_out() -> None:
    assert printable("\x1b[91m\x1b[1merror\x1b[0m: \x1b[38;5;9mno\x1b[m") == "error: no"
    assert printable("\x1b[2Jno\x1b[91") == "\ufffd[2Jno\ufffd[91"


def test_a_file_of_two_lines_is_told_in_one(tmp_path: Path) -> None:
    root = write_fixture(tmp_path, "relu2")
    (root / "kernels/workbench_kernels/relu2/notes\nmine PASSED").write_text("")
    (check,) = judge.verify(root, "relu2", only={"source"}).checks
    assert check.message == "notes\ufffdmine PASSED is none of an op's files"
