"""What is shown of a measurement: a page, plots, rows.

Every number here is made up by `measured`; nothing was timed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from measured import (
    MAX_AUTOTUNE,
    OP,
    PROBLEM,
    SIZES,
    document,
    measurement,
    record,
    repository,
    static_report,
)

from workbench.bench import export, page, plots
from workbench.bench.measurement import OURS, Result
from workbench.errors import EvidenceError, StorageError
from workbench.evidence import Evidence
from workbench.evidence.archive import Archive
from workbench.repository import Repository, content
from workbench.runs.store import Store

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}


class Parsed(HTMLParser):
    """What a browser would make of a page, as far as it matters here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.ids = list[str](), set[str](), list[str]()
        self.attributes, self.values = list[tuple[str, str]](), set[str]()
        self.labels, self.text = list[str](), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = {name: value or "" for name, value in attrs}
        self.attributes += given.items()
        self.ids += [given["id"]] if "id" in given else []
        self.values |= {given["value"]} if tag == "data" else set()
        self.labels += [given.get("aria-label", "")] if tag == "figure" else []
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def made() -> Evidence:
    return record(measurement())


@pytest.fixture(scope="module")
def shown(made: Evidence) -> str:
    return page.page(made)


# The page


def test_the_page_is_whole_and_loads_nothing(shown: str) -> None:
    parsed = Parsed(shown)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not parsed.tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert "://" not in shown and "@import" not in shown and "url(//" not in shown
    loads = {value for name, value in parsed.attributes if name in ("src", "href")}
    assert all(value.startswith("#") and value[1:] in parsed.ids for value in loads)
    assert set(re.findall(r"url\(#([^)]*)\)", shown)) <= set(parsed.ids)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert "default-src 'none'" in shown
    for needed in ("width=device-width", "@media print", "prefers-color-scheme: dark"):
        assert needed in shown


def test_every_number_of_the_record_is_on_the_page(made: Evidence, shown: str) -> None:
    parsed = Parsed(shown)
    found = measurement()
    for point in found.points:
        for result in point.results:
            numbers = [*result.host_seconds.values(), result.peak_bytes, result.error]
            for time in result.times.values():
                numbers += [time.low, time.median, time.high]
            said = {repr(number) for number in numbers if number is not None}
            assert said <= parsed.values, result.contender
        assert {repr(n) for n in (*point.floors.values(), *point.bytes.values())} <= parsed.values
        assert {repr(n) for clocks in point.clock.values() for n in clocks} <= parsed.values
    assert {repr(rate) for rate in found.ceilings.values()} <= parsed.values
    for text in (made.id, *made.files.values(), "1234567", made.machine.cpu, *made.summary):
        assert text in parsed.text
    assert all(f"{name} {version}" in parsed.text for name, version in made.versions.items())


def test_a_contenders_words_are_text(shown: str) -> None:
    assert PROBLEM in Parsed(shown).text
    assert "<script" not in shown and "<b>:" not in shown
    assert "<b>peer &lt;b&gt;</b> at every size: " in shown
    assert "<b>torch.compile</b> at 32768 × 16384: " in shown


def test_losses_come_first(shown: str) -> None:
    lost, _, every = shown.partition("Every number")
    assert lost.index("Where a peer is faster") < lost.index("<figure")
    first = [(row.rows, row.cols) for row in export.rows(record(measurement()))]
    lost_at = [(p.rows, p.cols) for p in measurement().points if p.loses()]
    assert 0 < len(lost_at) < len(SIZES)
    won = [size for size in SIZES if size not in lost_at]
    assert list(dict.fromkeys(first)) == lost_at + won
    shown_at = [every.index(f"{rows} × {cols}") for rows, cols in (lost_at[-1], won[0])]
    assert shown_at == sorted(shown_at)


def test_a_page_says_what_became_of_the_files_since() -> None:
    said = page.page(record(static_report()), [f"{OP}/kernel.py was changed <i>"])
    assert f"{OP}/kernel.py was changed &lt;i&gt;" in said


def test_a_roof_without_flops_says_so(shown: str) -> None:
    assert "no count of FLOPs" in shown
    assert "694.0" in shown


def test_nothing_timed_is_a_page_that_says_so() -> None:
    report = static_report()
    said = page.page(record(report))
    parsed = Parsed(said)
    assert "Nothing was timed" in parsed.text and "no time was measured" in parsed.text
    assert "svg" not in parsed.tags
    assert "<i>too much</i>" in parsed.text and "i" not in parsed.tags
    assert all(kernel.kernel in parsed.text for kernel in report.kernels)
    assert "38" in parsed.text and "0.750" in parsed.text
    assert "8192 × 4096" in parsed.text and "225" in parsed.text


@pytest.mark.parametrize("sizes", [[], SIZES[:1]])
def test_one_size_or_none_is_no_reason_to_fail(sizes: list[tuple[int, int]]) -> None:
    assert Parsed(page.page(record(measurement(sizes)))).open == []


def test_an_op_that_could_not_be_timed_is_compared_with_nobody() -> None:
    found = measurement(SIZES[:1])
    (point,) = found.points
    ours = Result(contender=OURS, problem="hangs")
    alone = point.model_copy(update={"results": (ours, *point.results[-1:]), "clock": {}})
    said = page.page(record(found.model_copy(update={"points": (alone,), "failures": ("hangs",)})))
    assert "nothing can be compared" in said
    assert 'role="alert"' in said and "<figure" not in said


# The plots


def test_a_plot_is_svg_that_says_what_it_shows(made: Evidence, shown: str) -> None:
    drawn = {plot.name: plot for plot in plots.plots(made)}
    ways = ("forward", "backward", "both")
    names = {f"{kind}-{way}" for kind in ("against", "time", "bandwidth", "host") for way in ways}
    assert set(drawn) == names | {"roof", "memory"}
    assert Parsed(shown).labels == [plot.words for plot in drawn.values()]
    for plot in drawn.values():
        assert ElementTree.fromstring(plot.image).get("aria-label") == plot.words
        assert plot.inline in shown  # and drawn twice it is the same
    text = "".join(ElementTree.fromstring(drawn["time-forward"].image).itertext())
    for name in (OURS, "eager", MAX_AUTOTUNE, "floor", "32768×16384", "µs per call"):
        assert name in text
    assert "4249 GB/s" in drawn["bandwidth-both"].image


# Rows


def test_rows_read_back_are_what_was_measured(made: Evidence) -> None:
    read = list(csv.DictReader(io.StringIO(export.as_csv(made))))
    assert len(read) == len(SIZES) * 3 * 5
    for row, expected in zip(read, export.rows(made), strict=True):
        point = next(p for p in measurement().points if p.rows == int(row["rows"]))
        result = next(r for r in point.results if r.contender == row["contender"])
        assert row["record"] == made.id and row["problem"] == result.problem
        if not result.rounds:
            assert row["time_median_seconds"] == "" and row["time_samples"] == "0"
            continue
        time = result.times[expected.direction]
        given = [float(row[f"time_{name}_seconds"]) for name in ("low", "median", "high")]
        assert given == [time.low, time.median, time.high]
        assert float(row["host_seconds"]) == result.host_seconds[expected.direction]
        assert int(row["peak_memory_bytes"]) == result.peak_bytes
        moved, floor = point.bytes[expected.direction], point.floors[expected.direction]
        assert (float(row["moved_bytes"]), float(row["floor_seconds"])) == (moved, floor)
        assert float(row["achieved_bytes_per_second"]) == moved / time.median
        assert float(row["floor_share"]) == floor / time.median
        assert int(row["time_samples"]) == 60
        assert float(row["error_over_eager"].replace("Infinity", "inf")) == result.error


def test_a_peers_time_over_ours_is_the_other_way_round_of_against(made: Evidence) -> None:
    points = {(p.rows, p.cols): p for p in measurement().points}
    for row in export.rows(made):
        ratio = points[row.rows, row.cols].against(row.contender, row.direction)
        if row.is_ours or ratio is None:
            assert row.time_over_ours_median is None
        else:
            assert row.time_over_ours_median == pytest.approx(1 / ratio.median)
            assert row.wins == (ratio.low > 1)


def test_a_spreadsheet_finds_no_formula() -> None:
    found = measurement(SIZES[:1])
    (point,) = found.points
    evil = point.results[-1].model_copy(update={"problem": "=cmd()"})
    made = record(
        found.model_copy(update={"points": (point.model_copy(update={"results": (evil,)}),)})
    )
    assert ",'=cmd()," in export.as_csv(made)
    assert export.as_data(made)[0]["problem"] == "=cmd()"


def test_rows_of_a_compilation() -> None:
    first, *_ = csv.DictReader(io.StringIO(export.as_csv(record(static_report()))))
    assert first["registers_per_thread"] == "38" and first["wide_stores"] == ""


# Which record


def archive(root: Path) -> Archive:
    return Archive(Repository.discover(root), Store(root / ".workbench"))


def test_the_newest_measurement_of_these_files_is_shown(tmp_path: Path) -> None:
    root = repository(tmp_path / "library")
    with pytest.raises(EvidenceError, match="nothing was measured") as caught:
        archive(root).speed(OP)
    assert caught.value.hint == f"workbench bench {OP}"
    store, files = Store(root / ".workbench"), content(root, OP).digests
    old, new = (
        record(measurement(SIZES[:1]), files=files, created=f"2026-08-0{day}T12:00:00Z")
        for day in (1, 2)
    )
    compiled = record(static_report(), files=files, created="2026-08-03T12:00:00Z")
    store.add_evidence([compiled])
    assert archive(root).speed(OP) == compiled
    store.add_evidence([new, old, compiled])
    assert archive(root).speed(OP) == new
    assert archive(root).speed(old.id[:12]) == old

    (root / next(iter(files))).write_text("another\n")
    with pytest.raises(EvidenceError, match=r"not what was measured any more: .* was changed"):
        archive(root).speed(OP)


def test_what_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        page.save({tmp_path / "file" / "page.html": ""})


def test_a_record_that_another_workbench_wrote_is_no_bug() -> None:
    for kind, made in (("compilation", static_report()), ("measurement", measurement([]))):
        other = record(made, data={"op": OP, "kernels": [{"kernel": "k"}]})
        with pytest.raises(EvidenceError, match=f"no {kind} this workbench can show: "):
            page.page(other)


def test_a_verification_says_nothing_of_speed() -> None:
    with pytest.raises(EvidenceError, match="nothing measured"):
        page.page(record({"passed": True}))


# The command


def workbench(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *arguments]
    return subprocess.run(
        command, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def test_the_command_writes_page_rows_and_plots(tmp_path: Path) -> None:
    root = repository(tmp_path / "library")
    made = document(root, measurement(SIZES[:2])).evidence[-1]
    wanted = ("--html", "out/page.html", "--csv", "out/rows.json", "--svg", "out/plots")
    done = workbench(root, "report", OP, *wanted, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["record"], answer["op"], answer["report"]) == (made.id, OP, None)
    assert answer["files"][:2] == ["out/page.html", "out/rows.json"]
    assert made.id[:12] in (root / "out/page.html").read_text()
    assert json.loads((root / "out/rows.json").read_text()) == answer["rows"]
    assert len(list((root / "out/plots").glob(f"{OP}-*.svg"))) == 14


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    root = repository(tmp_path / "library")
    nothing = workbench(root, "report", OP, "--html", "page.html")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert f"nothing was measured of {OP}" in nothing.stderr
    assert f"workbench bench {OP}" in nothing.stderr
    assert not (root / "page.html").exists()
    document(root, static_report().model_copy(update={"failures": ()}))
    plotted = workbench(root, "report", OP, "--html", "page.html", "--svg", "plots")
    assert plotted.returncode == 1 and "nothing to plot" in plotted.stderr
    assert not (root / "page.html").exists()  # all or nothing
    stale = workbench(root, "performance", "--check")
    assert stale.returncode == 2 and "no single place for the table" in stale.stderr


def test_matplotlib_is_only_imported_to_draw() -> None:
    code = (
        "import sys; import workbench.cli, workbench.bench.show, workbench.bench.performance\n"
        "print([name for name in ('matplotlib', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
