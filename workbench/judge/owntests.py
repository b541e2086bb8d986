"""`python -m workbench.judge.owntests TEST_FILE RESULT.xml`: an op's own tests, alone."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from workbench.judge.process import choose_device, die_with_parent
from workbench.judge.verdict import OWN_TESTS, Check


def main(test_file: str, result: str) -> int:
    """Run pytest without the repository's settings, conftest files and plugins; its exit code."""
    die_with_parent()
    choose_device()
    import pytest

    settings = Path(result).with_name("pytest.ini")
    settings.write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n    slow: takes minutes\n")
    isolated = ["-c", str(settings), "--noconftest", "-p", "no:cacheprovider", "-q"]
    return int(pytest.main([*isolated, f"--junitxml={result}", test_file]))


def read(result: Path, code: int | None, last_words: str) -> Check:
    """The check that pytest's record and exit code make: at least one test, and none failed."""
    if code is None:
        return Check(name=OWN_TESTS, status="failed", message="not finished in time")
    try:
        suite = ElementTree.parse(result).getroot().find("testsuite")
    except (OSError, ElementTree.ParseError):
        suite = None
    if suite is None:
        message = f"ended with {code} before the tests did: {last_words}"
        return Check(name=OWN_TESTS, status="failed", message=message)
    ran = int(suite.get("tests", 0)) - int(suite.get("skipped", 0))
    message = "the file has no test that runs"
    if ran:
        message = _first_failure(suite) if code else ""
    return Check(
        name=OWN_TESTS,
        status="failed" if message else "passed",
        cases=ran,
        message=message,
        seconds=float(suite.get("time", 0)),
    )


def _first_failure(suite: ElementTree.Element) -> str:
    bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    for case in suite.iter("testcase"):
        for outcome in (*case.findall("failure"), *case.findall("error")):
            message = " ".join(outcome.get("message", "").split())[:300]
            return f"{bad} of {suite.get('tests')} fail, first {case.get('name')}: {message}"
    return "pytest failed without naming a test"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
