"""What `workbench ops` says of the library, and `workbench evidence` lays beside its ops."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from measured import OP, document, measurement, record, repository, static_report
from rich.console import Console
from runs_fixtures import verdict

from workbench import overview
from workbench.bench.measurement import Measurement
from workbench.errors import EvidenceError, UsageError
from workbench.evidence import Evidence
from workbench.evidence.archive import Archive
from workbench.evidence.document import Document
from workbench.inventory import Entry, inventory
from workbench.layout import evidence_path, op_paths
from workbench.repository import Repository, content
from workbench.runs.store import Store

ROOT = Path(__file__).parents[1]
CHECKS = (
    {"name": "forward", "status": "passed", "cases": 3, "forward_error": 0.501},
    {"name": "gradients", "status": "passed", "cases": 3, "backward_error": 1.2301},
)


class Library:
    """A repository with one op, whose records are what a test says."""

    def __init__(self, root: Path) -> None:
        self.root = repository(root)
        self.repository = Repository.discover(self.root)
        self.store = Store(self.repository.state)
        self.archive = Archive(self.repository, self.store)

    def keep(self, found: object, **other: object) -> Evidence:
        """A record of the op as it is now."""
        digests = content(self.root, OP).digests
        kept = record(found, **{"files": digests, **other})  # type: ignore[arg-type]
        self.store.add_evidence([kept])
        return kept

    def entry(self) -> Entry:
        (found,) = inventory(self.repository, Archive(self.repository, self.store))
        return found

    def shown(self) -> str:
        out = io.StringIO()
        console = Console(file=out, width=80)
        console.print(overview.table([self.entry()]))
        return out.getvalue()


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def test_of_a_new_op_nothing_is_known(library: Library) -> None:
    folder = library.root / op_paths(OP)[0]
    (folder / "spec.py").write_text("SPEC = OpSpec(tier=2)\n")
    (folder / "kernel.py").write_text(f'"""{OP}: y = x² + 1\n\nMore.\n"""\n')
    assert library.entry() == Entry(OP, 2, "y = x² + 1", None, None, False)
    assert library.shown().splitlines()[1].split() == [OP, "2", "never", "none"]


def test_what_is_kept_here_is_shown_of_exactly_these_files(library: Library) -> None:
    library.keep(verdict(*CHECKS))
    library.keep(measurement())
    entry = library.entry()
    assert entry.judged is not None and entry.judged.passed and entry.judged.on == "CPU"
    assert entry.judged.error == 1.2301
    assert entry.timed is not None and entry.timed.sizes == 6
    assert entry.timed.lost == sum(point.loses() for point in measurement().points) > 0
    low, high = entry.timed.shares["backward"]
    assert 0 < low < high < 1
    line = library.shown().splitlines()[1]
    assert "CPU 1.24x" in line  # never less than it is
    assert f"{low:.2f}-{high:.2f}" in line and f"{entry.timed.lost} of 6" in line
    assert line.rstrip().endswith("kept here")

    (library.root / op_paths(OP)[0] / "kernel.py").write_text("# changed\n")
    changed = library.entry()
    assert changed.judged is None and changed.timed is None


def test_where_the_forward_computes_gradients_only_both_together_are_shown(
    library: Library,
) -> None:
    whole = measurement()
    points = [
        p.model_copy(update={"floors": {**p.floors, "backward": 9 * p.floors["backward"]}})
        for p in whole.points
    ]
    library.keep(whole.model_copy(update={"points": tuple(points)}))
    timed = library.entry().timed
    assert timed is not None and timed.shares.keys() == {"both"}
    assert timed.lost == sum("both" in point.lost() for point in points)
    low, high = timed.shares["both"]
    assert 0 < low < high < 1
    line = library.shown().splitlines()[1]
    assert f"both  {low:.2f}-{high:.2f}" in line
    assert "both: where" in " ".join(overview.legend([library.entry()]))


def test_a_verdict_from_a_gpu_counts_before_a_newer_one_from_a_cpu(library: Library) -> None:
    on_gpu = verdict(*CHECKS) | {"interpreted": False, "device": "NVIDIA H100 80GB HBM3"}
    first = library.keep(on_gpu)
    library.keep(verdict(), created=first.created + timedelta(days=1))
    assert "H100 1.24x" in library.shown()


def test_a_partial_verdict_is_none_and_a_failed_one_says_so(library: Library) -> None:
    first = library.keep(verdict(*CHECKS) | {"partial": True, "passed": False})
    assert library.entry().judged is None
    later = first.created + timedelta(days=1)
    library.keep(verdict(*CHECKS, passed=False), created=later)
    assert "failed" in library.shown()


def test_committed_evidence_says_so(library: Library) -> None:
    document(library.root, measurement())
    assert library.entry().committed
    assert library.shown().splitlines()[1].rstrip().endswith("committed")


def test_evidence_is_gathered_of_what_is_kept(library: Library) -> None:
    present = content(library.root, OP)
    with pytest.raises(EvidenceError, match="no verdict of"):
        Document.gathered(OP, present, library.archive.of_op(OP))
    old = library.keep(verdict(*CHECKS))
    day = timedelta(days=1)
    library.keep(verdict(*CHECKS, passed=False), created=old.created + 9 * day)
    library.keep(measurement())
    here = library.keep(measurement(), created=old.created + day)
    there = library.keep(_elsewhere(), created=old.created + 2 * day)
    library.keep(static_report().model_copy(update={"failures": ()}), created=old.created + day)
    library.keep(verdict(), files={"another": "0" * 64}, created=old.created + 3 * day)
    made = Document.gathered(OP, present, library.archive.of_op(OP))
    assert [e.id for e in made.evidence] == [old.id, here.id, there.id]


def _elsewhere() -> Measurement:
    return measurement().model_copy(update={"device": "NVIDIA B200"})


def workbench(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_command_writes_evidence_that_holds(library: Library) -> None:
    library.keep(verdict(*CHECKS))
    made = library.keep(measurement())
    refused = workbench(library.root, "evidence", OP, "nope")
    assert refused.returncode == 2 and "the library has no op 'nope'" in refused.stderr
    assert not (library.root / evidence_path(OP)).exists()
    done = workbench(library.root, "evidence", OP)
    assert done.returncode == 0, done.stderr
    assert f"measurement {made.id[:12]}" in done.stdout
    assert len(Document.load(library.root, OP).evidence) == 2
    found = json.loads(workbench(library.root, "ops", "--json").stdout)
    assert found["library"] == [OP] and found["ops"][OP]["committed"] is True


def test_an_unknown_op_is_refused(library: Library) -> None:
    with pytest.raises(UsageError, match="no op 'nope'"):
        library.repository.check_ops([OP, "nope"])
