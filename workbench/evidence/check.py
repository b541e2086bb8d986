"""Checking a document against the records: a number that nothing recorded says is a finding.

What a number is, is said in `numbers`, what stands behind it in `citation`. Text that was copied
from a record, a date, a version or a message, is cited as a whole: its citation covers every number
in it. Nothing here knows what a sentence means: a right number in a wrong sentence is for a reader
to find.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, computed_field

from workbench.errors import EvidenceError, UsageError
from workbench.evidence import Evidence
from workbench.evidence.citation import COMMENT, Citation, says
from workbench.evidence.markdown import escape
from workbench.evidence.numbers import HIDDEN, Token, hidden, numbers

_MARKUP = re.compile(r"[*_`~]*")


class Records(Protocol):
    """Who knows the records."""

    @property
    def damaged(self) -> Mapping[str, str]:
        """What is wrong with files of records, by path."""

    def find(self, begins: str) -> Evidence:
        """The record whose id begins so; EvidenceError if there is not exactly one."""

    def changes(self, evidence: Evidence) -> list[str]:
        """What became of the files that it is about."""


class Finding(BaseModel):
    """Something that nothing recorded says, where it stands, and what to do."""

    model_config = ConfigDict(frozen=True)

    file: str
    line: int
    column: int
    token: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.token}: {self.problem}; {self.hint}"


class Checked(BaseModel):
    """How many numbers a document has, which records they were found in, and what is wrong."""

    model_config = ConfigDict(frozen=True)

    file: str
    numbers: int
    records: tuple[str, ...]
    findings: tuple[Finding, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether every number is recorded."""
        return not self.findings


def check_file(file: Path, records: Records) -> Checked:
    """Check a document.

    Raises:
        UsageError: it can't be read.
    """
    try:
        text = file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} can't be read: {error}", "workbench verify-report FILE"
        ) from error
    return check_text(text, records, str(file))


def check_text(text: str, records: Records, file: str = "") -> Checked:
    """Check a text, and with it that nobody touched the library's records."""
    check = _Check(text, records, file)
    check.citations()
    check.uncited()
    for path, problem in records.damaged.items():
        check.findings.append(
            Finding(
                file=path,
                line=1,
                column=1,
                token=path.rpartition("/")[2],
                problem=problem.removeprefix(f"{path}: "),
                hint=f"restore it: git checkout -- {path}; or verify the op again",
            )
        )
    return Checked(
        file=file,
        numbers=len(check.tokens),
        records=tuple(check.cited),
        findings=tuple(sorted(check.findings, key=lambda f: (f.file != file, f.line, f.column))),
    )


class _Check:
    """The check of one text: what it found so far."""

    def __init__(self, text: str, records: Records, file: str) -> None:
        self._text, self._records, self._file = text, records, file
        self._hidden = hidden(text)
        self.tokens = numbers(self._hidden)
        # By where a citation of it would stand.
        self._behind = {_behind(self._hidden, token): token for token in self.tokens}
        self._covered: set[Token] = set()
        self.cited: dict[str, Evidence] = {}
        self.findings: list[Finding] = []

    def citations(self) -> None:
        """Each citation must be of a record that is known and says so."""
        for match in COMMENT.finditer(self._text):
            token = self._behind.get(match.start())
            if token is not None:
                self._covered.add(token)  # whatever is wrong with it is said here
            at, shown = (token.start, token.text) if token else (match.start(), match[0])
            try:
                citation = Citation.parse(match[1])
                evidence = self._known(citation, at, shown)
                value = citation.look_up(evidence.record)
            except (ValueError, LookupError, EvidenceError) as error:
                self._find(at, shown, str(error.args[0]), "cite what was recorded, or leave it out")
                continue
            if isinstance(value, str):
                self._quote(match.start(), value, token)
            elif token is None:
                hint = "a citation stands right behind its number"
                self._find(at, shown, "this citation is behind no number", hint)
            else:
                self._number(token, value, citation)

    def uncited(self) -> None:
        """No number may be left over, nor be put together of two."""
        for token in self.tokens:
            if token not in self._covered:
                hint = "cite the record it is from, or leave it out"
                self._find(token.start, token.text, "no record says this number", hint)
            elif token.joined:
                hint = "put a space between them"
                self._find(token.start, token.text, "it continues the number before it", hint)

    def _known(self, citation: Citation, at: int, shown: str) -> Evidence:
        """The cited record; what became of its files is told once."""
        evidence = self._records.find(citation.record)
        if evidence.id not in self.cited:
            self.cited[evidence.id] = evidence
            if changes := self._records.changes(evidence):
                hint = f"verify {evidence.op} again, and render the report from that"
                about = f"its record {evidence.id[:12]} is about other files"
                self._find(at, shown, f"{about}: {'; '.join(changes)}", hint)
        return evidence

    def _quote(self, end: int, value: str, token: Token | None) -> None:
        """A citation of text covers the text before it, if that is what the record says."""
        for written in (escape(value), value, f"`{value}`"):
            start = end - len(written)
            if value and self._text.endswith(written, 0, end):
                inside = {t for t in self.tokens if start <= t.start and t.end <= end}
                self._covered |= inside
                if token is None or token in inside:
                    return
        at, shown = (token.start, token.text) if token else (end, "citation")
        self._find(at, shown, f"the record says {value!r}", "print it as it is recorded")

    def _number(self, token: Token, value: object, citation: Citation) -> None:
        """A citation of a number must round to the number printed."""
        if token.value is None:
            problem = f"the record says {value}, which no date, version or fraction can be"
            self._find(token.start, token.text, problem, "print it as it is recorded")
        elif not says(value, token.value, token.quantum, token.bound):
            bound = f", and {token.bound} must be true" if token.bound else ""
            problem = f"the record says {value}{bound}"
            self._find(token.start, token.text, problem, "print what is recorded, rounded")
        elif citation.function == "percent" and not self._is_percentage(token):
            self._find(token.start, token.text, "it is cited as a share", "write % behind it")

    def _is_percentage(self, token: Token) -> bool:
        behind = self._hidden[token.end :].lstrip(f"{HIDDEN}*_`~ \u00a0\u202f")
        return token.is_percentage or behind.startswith("%")

    def _find(self, at: int, token: str, problem: str, hint: str) -> None:
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        finding = Finding(
            file=self._file, line=line, column=column, token=token, problem=problem, hint=hint
        )
        self.findings.append(finding)


def _behind(text: str, token: Token) -> int:
    """Where a citation of the number stands: behind its unit, and the end of bold or code."""
    markup = _MARKUP.match(text, token.end)
    return markup.end() if markup else token.end
