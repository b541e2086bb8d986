"""The lab notebook of a run: every idea with what was expected of it, before it was tried, and then
what came of it. Lines of JSON, each on the disk before anything else happens; so a search that was
killed does not judge or time again what it had.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import EvidenceError
from workbench.evidence import Evidence, canonical
from workbench.runs.store import storage_errors
from workbench.text import printable
from workbench.tune.rules import expenses, gain
from workbench.tune.wave import Idea, Settled, Wave

FILE, PAGE = "notebook.jsonl", "notebook.md"


class Notebook:
    """The notebook in a run's folder.

    Every method that writes raises StorageError where there is no room.
    """

    def __init__(self, folder: Path) -> None:
        self.file, self.page = folder / FILE, folder / PAGE
        self._known = {(w.number, *_digests(w.best, w.ideas)): w for w in self._waves()}

    def begun(self, title: str, facts: Sequence[str]) -> None:
        """What is known before anything is tried."""
        with storage_errors(self.page):
            self.page.parent.mkdir(parents=True, exist_ok=True)
            self.page.write_text("")  # what is known already is said again
        self._say(f"# {title}\n\n" + "".join(f"- {printable(fact)}\n" for fact in facts))

    def proposed(self, number: int, best: Idea, ideas: Sequence[Idea]) -> None:
        """Ideas that were not tried yet."""
        for idea in ideas:
            self._write({"proposed": number, "at": best.digest, "idea": idea.model_dump()})
        self._say_proposed(number, best, ideas)

    def _say_proposed(self, number: int, best: Idea, ideas: Sequence[Idea]) -> None:
        rows = [
            f"| {_cell(idea.name)} | {_cell(idea.hypothesis)} | {idea.expected:.1%} |\n"
            for idea in ideas
        ]
        head = "| idea | hypothesis | expected |\n|---|---|---|\n"
        self._say(f"\n## Wave {number}, from {printable(best.name)}\n\n{head}{''.join(rows)}")

    def tried(self, wave: Wave) -> None:
        """A wave that was judged and timed."""
        self._write({"tried": wave.number, "wave": _record(wave)})
        self._say_tried(wave)

    def _say_tried(self, wave: Wave) -> None:
        lines = []
        for idea in wave.ideas:
            ratios, problem = wave.ratios(idea), wave.problem(idea)
            said = f"not timed: {problem}" if problem else f"saves {gain(ratios):.1%} on the whole"
            slower = "".join(f"; {one}" for one in expenses(ratios))
            lines.append(f"- {printable(idea.name)}: {printable(said)}{slower}\n")
        records = ", ".join(race.id[:12] for race in wave.races)
        timed = f"\nTimed: evidence {records}.\n" if records else ""
        self._say("\n" + "".join(lines) + timed)

    def settled(self, wave: Wave, settled: Settled, gained: float) -> None:
        """What is best after a wave."""
        if settled.best.digest == wave.best.digest:
            self._say("\nNothing is faster beyond noise: the best so far stays.\n")
            return
        rows = [
            f"| {r.rows} x {r.cols} | {r.direction} | {1e6 * r.seconds:.1f} | {r.over.median:.3f} "
            f"| {r.over.low:.3f} to {r.over.high:.3f} |\n"
            for r in settled.ratios
        ]
        head = "| size | direction | us | of the time before | interval |\n|---|---|---|---|---|\n"
        kept = f"\nKept, {gained:.1%} saved where it changed: {printable(settled.best.hypothesis)}"
        difference = _difference(wave.best, settled.best)
        self._say(f"{kept}\n\n{head}{''.join(rows)}\n```diff\n{difference}```\n")

    def ended(self, best: Idea, why: str) -> None:
        """The search is over."""
        self._write({"ended": why, "best": best.digest})
        self._say(f"\n## End\n\n{printable(why)}; the best is {printable(best.name)}.\n")

    def recall(self, number: int, best: Idea, ideas: Sequence[Idea]) -> Wave | None:
        """The same wave, if it was tried before."""
        wave = self._known.get((number, *_digests(best, ideas)))
        if wave is not None:
            self._say_proposed(number, best, ideas)
            self._say_tried(wave)
        return wave

    def _waves(self) -> list[Wave]:
        if not self.file.exists():
            return []
        with storage_errors(self.file):
            lines = self.file.read_text().splitlines()
        waves = []
        for line in lines:
            try:
                event = json.loads(line)
                if "tried" in event:
                    waves.append(_wave(event["wave"]))
            except (ValueError, LookupError, TypeError, EvidenceError):
                continue  # the line that a kill cut, or what somebody wrote into it: tried again
        return waves

    def _write(self, event: Mapping[str, Any]) -> None:
        with storage_errors(self.file), self.file.open("a") as file:
            file.write(json.dumps(event) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _say(self, text: str) -> None:
        with storage_errors(self.page), self.page.open("a") as page:
            page.write(text)


def _digests(best: Idea, ideas: Sequence[Idea]) -> tuple[str, ...]:
    return (best.digest, *(f"{idea.name} {idea.digest}" for idea in ideas))


def _record(wave: Wave) -> dict[str, Any]:
    """A wave as JSON; its records by their own text, which their ids are the hashes of."""
    verdicts = {name: verdict.record for name, verdict in wave.verdicts.items()}
    plain = wave.model_dump(exclude={"verdicts", "races"})
    return {**plain, "verdicts": verdicts, "races": [race.record for race in wave.races]}


def _wave(record: Mapping[str, Any]) -> Wave:
    def evidence(kept: Mapping[str, Any]) -> Evidence:
        text = canonical({key: value for key, value in kept.items() if key != "id"})
        return Evidence.read(text, str(kept["id"]))

    races = tuple(evidence(kept) for kept in record["races"])
    verdicts = {name: evidence(kept) for name, kept in record["verdicts"].items()}
    best, ideas = Idea(**record["best"]), tuple(Idea(**idea) for idea in record["ideas"])
    return Wave(number=record["number"], best=best, ideas=ideas, verdicts=verdicts, races=races)


def _difference(old: Idea, new: Idea) -> str:
    lines = list[str]()
    for name in sorted(new.sources):
        before, after = (i.sources.get(name, "").splitlines(True) for i in (old, new))
        lines += difflib.unified_diff(before, after, name, name)
    return "".join(lines)


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")
