"""The profile's gate: where no person wrote the reference, one must confirm it and its profile; of
a model, its profile alone.

The reference lies in the run's folder, for a person to read and change. What is confirmed is the
text and the profile that were shown; one byte of either changed, and it is to be confirmed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from workbench.errors import ProfileGate, RunError, WorkbenchError
from workbench.runs import CLOSED, Record, Run, StageResult, State

if TYPE_CHECKING:
    from workbench.profile import Profile
    from workbench.proposal import Proposal

ANALYSIS = "analyze"
# What a record has of a gate that was opened, and of an analysis that one comes after.
CONFIRMED, PROPOSED = "confirmed", "reference"
_FILE = "reference.py"
_TRANSCRIPT = "transcript.jsonl"


class Page(BaseModel):
    """A run at its gate: the reference, word for word, and the profile, with its tier. `changed`:
    the file is not what was analyzed any more.
    """

    run: Run
    file: str
    reference: str
    profile: dict[str, Any]
    changed: bool


def path(folder: Path) -> Path:
    """Where the reference is, in the run's folder."""
    return folder / _FILE


def read(folder: Path) -> str | None:
    """The reference as it is now; None before there is one."""
    found = _bytes(folder)
    return None if found is None else found.decode("utf-8", "replace")


def write(folder: Path, text: str | None) -> None:
    """Put a reference there, whole or not at all; None leaves what is there."""
    from workbench.runs.store import storage_errors  # late: sqlite3 is slow to ask for help

    if text is None:
        return
    draft = folder / f"{_FILE}.new"
    with storage_errors(draft, "the reference is as it was"):
        draft.write_text(text, encoding="utf-8")
        draft.replace(path(folder))


def data(found: Proposal, profile: Profile) -> dict[str, Any]:
    """What the record of an analysis keeps of a reference that is to be confirmed."""
    return profile.model_dump(mode="json") | {
        PROPOSED: {"record": found.record, "sha256": _sha256(found.text.encode())}
    }


def is_stale(record: Record, folder: Path) -> bool:
    """Whether it is the analysis of a reference that was changed since."""
    proposed = record.result.data.get(PROPOSED) if record.stage == ANALYSIS else None
    return proposed is not None and proposed["sha256"] != _sha256(_bytes(folder) or b"")


def is_open(run: Run, folder: Path) -> bool:
    """Whether a person wrote the reference, or confirmed it and its profile as they are now."""
    if not run.request.waits:
        return True
    found = _confirmed(run)
    return found is not None and found["sha256"] == _frozen(run, folder)


def check(run: Run, folder: Path) -> None:
    """Refuse what is about another reference than the confirmed one.

    Raises:
        ProfileGate: it was changed since.
    """
    if not is_open(run, folder):
        raise ProfileGate(
            f"the reference of run {run.id}, or its profile, is not what was confirmed",
            f"workbench resume {run.id} analyzes it again; then confirm it, or put it back",
        )


def page(run: Run, folder: Path) -> Page:
    """What a person confirms by.

    Raises:
        RunError: there is nothing to confirm.
    """
    record = run.latest(ANALYSIS)
    proposed = run.request.commission is not None
    known = record is not None and record.result.ok and run.request.waits
    if record is None or not known or proposed != (PROPOSED in record.result.data):
        raise refusal(run) or RunError(
            f"run {run.id} has no profile yet" + (f": {run.reason}" if run.reason else ""),
            f"workbench resume {run.id}",
        )
    if not proposed:
        return Page(run=run, file="", reference="", profile=record.result.data, changed=False)
    from workbench.proposal import text_of

    found = dict(record.result.data)
    return Page(
        run=run,
        file=str(path(folder)),
        reference=text_of(found.pop(PROPOSED)["record"]),
        profile=found,
        changed=is_stale(record, folder),
    )


def refusal(run: Run) -> WorkbenchError | None:
    """Why there is nothing to confirm or change, if there isn't."""
    if not run.request.waits:
        return RunError(
            f"the reference of run {run.id} is {run.request.origin}: it needs no confirmation",
            f"workbench show {run.id}",
        )
    if run.state in CLOSED or run.state is State.APPROVED:
        return RunError(f"run {run.id} is {run.state}", f"workbench show {run.id}")
    return None


def no_change(run: Run) -> WorkbenchError | None:
    """Why there is nothing to change, if there isn't."""
    if run.request.waits and run.request.commission is None:
        return RunError(
            f"the profile of run {run.id} says what is in {run.request.origin}: nothing of it can "
            "be changed here",
            f"workbench abort {run.id}, and begin another with --leave",
        )
    return refusal(run)


def no_confirmation(run: Run) -> WorkbenchError:
    """Why there is nothing to confirm in a run that doesn't wait for it."""
    if problem := refusal(run):
        return problem
    why = "is confirmed already" if _confirmed(run) else "has no profile yet"
    reason = f": {run.reason}" if run.reason else ""
    return RunError(f"run {run.id} {why}{reason}", f"workbench resume {run.id} goes on")


def changed(run: Run, tier: int | None, force: bool) -> Run:
    """The run, asked for this tier, if any; to be driven from its analysis on."""
    asked = {} if tier is None else {"tier": tier, "force_tier": force}
    request = run.request.model_copy(update=asked)
    return run.model_copy(update={"request": request, "state": State.OPEN, "reason": ""})


def confirmed(run: Run, folder: Path, stage: str, person: str) -> tuple[Run, Record]:
    """The run with its reference frozen, and the record of who let it.

    From here on the reference is trusted, so it is traced once more, by this process.

    Raises:
        ProfileGate: it or its profile is not what was shown.
    """
    from workbench.profile import Profile, analyze
    from workbench.reference import parse

    shown = page(run, folder)
    if run.request.commission is None:
        return run, _record(run, folder, stage, person, [])
    if shown.changed:
        raise ProfileGate(
            f"{shown.file} is not what was shown",
            f"workbench resume {run.id} analyzes it again",
        )
    analysis = run.latest(ANALYSIS)
    assert analysis is not None
    reference = parse(shown.reference, run.op, _FILE, run.request.origin)
    profile = Profile.model_validate(shown.profile)
    traced = analyze(reference, run.op).as_tier(profile.tier, force=True)
    record_shown = analysis.result.data[PROPOSED]["record"]
    if traced != profile or reference.to_record() != record_shown:
        raise ProfileGate(
            f"the reference of run {run.id} is another than was shown: "
            "it does not say and compute the same wherever it runs",
            f"workbench profile edit {run.id}, or workbench abort {run.id}",
        )
    record = _record(run, folder, stage, person, [f"tier {profile.tier}"])
    request = run.request.model_copy(update={"reference": reference.to_record()})
    return run.model_copy(update={"request": request}), record


def _record(run: Run, folder: Path, stage: str, person: str, facts: Sequence[str]) -> Record:
    """Who confirmed what is there now."""
    from workbench.runs.store import now

    frozen = _frozen(run, folder)
    return Record(
        stage=stage,
        result=StageResult(
            summary=[*facts, f"confirmed by {person}", f"sha256 {frozen[:12]}"],
            data={CONFIRMED: {"sha256": frozen, "person": person}},
        ),
        started=now(),
        seconds=0.0,
    )


def set_aside(run: Run, folder: Path, record: Record) -> bool:
    """Whether another reference was confirmed before: what its author said is kept by its hash."""
    before = _confirmed(run)
    if before is None or before["sha256"] == record.result.data[CONFIRMED]["sha256"]:
        return False
    transcript = folder / _TRANSCRIPT
    if transcript.exists():
        transcript.rename(transcript.with_stem(f"transcript-{before['sha256'][:12]}"))
    return True


def _confirmed(run: Run) -> dict[str, str] | None:
    """What was confirmed last."""
    found = [r.result.data[CONFIRMED] for r in run.records if CONFIRMED in r.result.data]
    return found[-1] if found else None


def _frozen(run: Run, folder: Path) -> str:
    """The hash of the reference as it is now and of its standing profile."""
    record = run.latest(ANALYSIS)
    profile = json.dumps(record.result.data if record else {}, sort_keys=True)
    return _sha256(profile.encode() + b"\n" + (_bytes(folder) or b""))


def _bytes(folder: Path) -> bytes | None:
    from workbench.runs.store import storage_errors

    with storage_errors(path(folder)):
        return path(folder).read_bytes() if path(folder).is_file() else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
