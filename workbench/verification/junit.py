"""What was found as JUnit XML, which GitHub, GitLab and Jenkins read: a suite per op."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from workbench.judge.verdict import Check, Verdict
from workbench.runs.store import storage_errors
from workbench.verification.result import Verification

# What XML 1.0 can't hold, escaped or not: a candidate's message may have any of it.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(file: Path, data: bytes) -> None:
    """Write the file, and make the folders it's in.

    Raises:
        StorageError: it can't be written.
    """
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def document(found: Verification) -> bytes:
    """The XML document."""
    verdicts = [result.verdict for result in found.ops]
    root = _element("testsuites", name=f"workbench verify {found.target}", **_counts(verdicts))
    root.extend(map(_suite, verdicts))
    ElementTree.indent(root)
    text: str = ElementTree.tostring(root, "unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _suite(verdict: Verdict) -> ElementTree.Element:
    suite = _element("testsuite", name=verdict.op, **_counts([verdict]))
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"seed": verdict.seed, "device": verdict.device, "sandbox": verdict.sandbox}
    for name, value in {**facts, **verdict.versions}.items():
        properties.append(_element("property", name=name, value=str(value)))
    suite.extend(_case(verdict.op, check) for check in verdict.checks)
    return suite


def _case(op: str, check: Check) -> ElementTree.Element:
    case = _element("testcase", classname=f"workbench.{op}", name=check.name, time=check.seconds)
    outcome = {"failed": "failure", "skipped": "skipped"}.get(check.status)
    if outcome:
        said = _element(outcome, message=check.message.partition("\n")[0])
        said.text = _legal(check.message)
        case.append(said)
    return case


def _counts(verdicts: list[Verdict]) -> dict[str, object]:
    return {
        "tests": sum(len(v.checks) for v in verdicts),
        "failures": sum(len(v.failures) for v in verdicts),
        "errors": 0,
        "skipped": sum(len(v.skipped) for v in verdicts),
        "time": round(sum(v.seconds for v in verdicts), 3),
    }


def _element(tag: str, **attributes: object) -> ElementTree.Element:
    return ElementTree.Element(tag, {name: _legal(str(v)) for name, v in attributes.items()})


def _legal(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
