"""One run of the op's own tests, in this process: how many ran, and which failed first."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

# Plugins of pytest's own that write files, take over descriptors or collect garbage.
_WITHOUT = ("cacheprovider", "logging", "faulthandler", "unraisableexception", "threadexception")
# Markers that tests of the library carry; the repository's own settings are not used.
_SETTINGS = "[pytest]\nmarkers =\n    gpu: needs a GPU\n    slow: takes minutes\n"


class Outcomes:
    """A pytest plugin that keeps what a run came to."""

    def __init__(self) -> None:
        self.passed, self.skipped, self.failures = 0, 0, list[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test ended."""
        if report.failed:
            self._fail(report.nodeid, report.longrepr)
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file was collected, or could not be."""
        if report.failed:
            self._fail(report.nodeid, report.longrepr)

    def _fail(self, test: str, reason: Any) -> None:
        crash = getattr(reason, "reprcrash", None)
        message = crash.message if crash is not None else str(reason)
        name = test.rpartition("::")[2] or test
        self.failures.append(f"{name}: {' '.join(message.split())[:300]}")


def run(test_file: str, *, first_failure: bool) -> dict[str, Any]:
    """Run pytest on one file, with no other plugin, conftest or setting of the repository's."""
    outcomes, started, home = Outcomes(), time.perf_counter(), str(Path(test_file).parent)
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "pytest.ini"
        settings.write_text(_SETTINGS)
        isolated = ["-c", str(settings), "--rootdir", home, "--confcutdir", home, "--noconftest"]
        # Python's own output is captured; what C++ writes before it aborts is the judge's to tell.
        isolated.append("--capture=sys")
        isolated += [option for name in _WITHOUT for option in ("-p", f"no:{name}")]
        stop = ["-x"] if first_failure else []
        code = pytest.main([*isolated, "--tb=line", "-q", *stop, test_file], plugins=[outcomes])
    return {
        "code": int(code),
        "passed": outcomes.passed,
        "skipped": outcomes.skipped,
        "failures": outcomes.failures[:20],
        "failed": len(outcomes.failures),
        "seconds": time.perf_counter() - started,
    }
