"""Tuning: what is proposed, judged, raced and kept, over a made-up GPU and judge."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning_fixtures import (
    HEAD,
    SIZES,
    SOURCE,
    Bench,
    Judge,
    cost,
    cost_of_config,
    measurement,
)

import workbench_kernels
from workbench.bench.contest import Direction, beaten, interleave
from workbench.bench.measurement import OURS, Measurement
from workbench.bench.statistics import Interval
from workbench.errors import UsageError, VerificationFailed, WorkbenchError
from workbench.evidence import Evidence
from workbench.tune.notebook import Notebook
from workbench.tune.rewrites import Findings, Rewrite, Rewrites
from workbench.tune.rules import Patience, Target, costs, expenses, faster, gain, host_noise, noise
from workbench.tune.sweep import KERNEL, Sweep
from workbench.tune.tables import EVERY, rewritten, tables
from workbench.tune.tune import Outcome, Proposer, Tuning
from workbench.tune.wave import Idea, Ratio, floors, times
from workbench_kernels import ops, tuning
from workbench_kernels.tuning import CHOICES

START = Idea(name="as it is", hypothesis="", expected=0.0, sources={KERNEL: SOURCE})


def search(
    folder: Path,
    *proposers: Proposer,
    bench: Bench | None = None,
    judge: Judge | None = None,
    start: Idea = START,
    patience: Patience | None = None,
) -> Outcome:
    bench, judge = bench or Bench(), judge or Judge()
    kernels = {OURS: start.sources[KERNEL], "itself": start.sources[KERNEL]}
    found = bench.measured("rms_norm", kernels, bench.sizes)
    notebook = Notebook(folder)
    notebook.begun("a run", ["made up"])
    return Tuning(
        judge=judge,
        race=bench.race,
        notebook=notebook,
        patience=patience or Patience(3600.0, noise=noise(found, "itself")),
        times=times(found),
        floors=floors(found),
    ).run(start, proposers or [Sweep(SIZES)])


# What a kernel declares

WIDTHS = st.sampled_from([1 << n for n in range(18)])
CONFIGS = st.fixed_dictionaries({n: st.sampled_from(CHOICES[n]) for n in ("elements", "stages")})


@given(CONFIGS, st.dictionaries(WIDTHS, CONFIGS, max_size=4), st.dictionaries(WIDTHS, CONFIGS))
def test_a_declaration_is_read_and_written_back(
    start: dict[str, int], at: dict[int, dict[str, int]], chosen: dict[int, dict[str, int]]
) -> None:
    """What the library makes of the new text is what was chosen, and elsewhere as it was."""
    source = f"{HEAD}FORWARD = ByWidth({start!r}, {at!r})\n\nBLOCK = 7  # nothing to tune\n"
    table = tables(source)["FORWARD"]
    changed = tables(rewritten(source, [table.having(chosen)]))["FORWARD"]
    before, now = (tuning.ByWidth(start, at), eval(changed.source, vars(tuning)))
    assert "BLOCK = 7  # nothing to tune" in rewritten(source, [changed])
    for width in range(18):
        below = [known for known in {*chosen, *at} if known <= 1 << width]
        expected = chosen.get(max(below, default=EVERY), before.at(1 << width))
        assert dict(now.at(1 << width)) == dict(expected) == dict(changed.at(1 << width))


def test_choices_of_its_own_stay() -> None:
    source = HEAD + "FORWARD = Fixed({'block_v': 512}, choices={'block_v': (512, 1024)})\n"
    (table,) = tables(source).values()
    assert table.choices == {"block_v": (512, 1024)} and table.width(4096) == EVERY
    text = rewritten(source, [table.having({EVERY: {"block_v": 1024}})])
    assert 'Fixed({"block_v": 1024}, choices={"block_v": (512, 1024)})' in text


def test_choices_may_stand_second_or_third() -> None:
    """Where the library's own constructors take them."""
    own = "{'block_v': (512, 1024)}"
    declared = f"A = Fixed({{'block_v': 512}}, {own})\nB = ByWidth({{'block_v': 512}}, {{}}, {own})"
    for table in tables(HEAD + declared).values():
        assert table.choices == {"block_v": (512, 1024)} and table.configs[EVERY] == {
            "block_v": 512
        }
        assert "choices={'block_v': (512, 1024)}" in table.source


@pytest.mark.parametrize("declared", ["Fixed({'elements': SIZE})", "Fixed({'unheard_of': 3})"])
def test_what_is_no_literal_is_named(declared: str) -> None:
    with pytest.raises(WorkbenchError, match="FORWARD of line 1 can't be read"):
        tables(f"FORWARD = {declared}")


def test_a_table_governs_the_direction_that_it_is_named_after() -> None:
    declared = tables(HEAD + "".join(f"{n} = Fixed({{'stages': 1}})\n" for n in ("FORWARD", "X")))
    assert {name: list(t.directions()) for name, t in declared.items()} == {
        "FORWARD": ["forward"],
        "X": ["forward", "backward"],
    }


@pytest.mark.parametrize("op", ops())
def test_what_the_librarys_kernels_declare_is_read(op: str) -> None:
    source = (Path(workbench_kernels.__file__).parent / op / "kernel.py").read_text()
    assert {"FORWARD", "BACKWARD"} <= {*tables(source)}


# The sweep


def best_known(cols: int, way: Direction) -> float:
    names = ["elements", "per_thread", *(["stages", "resident"] if way == "backward" else [])]
    return min(
        cost_of_config(dict(zip(names, values, strict=True)), cols)
        for values in itertools.product(*(CHOICES[name] for name in names))
    )


def test_a_bad_configuration_becomes_a_good_one(tmp_path: Path) -> None:
    """At every width and in both directions, within 5 % of the best of all combinations."""
    found = search(tmp_path)
    kernel = found.best.sources[KERNEL]
    for rows, cols in SIZES:
        for way in ("forward", "backward"):
            table = tables(kernel)[way.upper()]
            took = cost_of_config(table.at(table.width(cols)), cols)
            assert took <= best_known(cols, way) / 0.95, (rows, cols, way)
    assert "waves in a row gained no" in found.stopped or "nothing is left" in found.stopped


def test_noise_changes_nothing(tmp_path: Path) -> None:
    """A/A: where every configuration takes the same time, the kernel stays byte for byte."""
    same = Bench(lambda kernel, rows, cols, way: 1e-4)
    found = search(tmp_path, bench=same)
    assert found.best.digest == START.digest
    assert found.stopped == "2 waves in a row gained no 1.0%"


def test_nobody_is_tried_twice(tmp_path: Path) -> None:
    judge = Judge()
    found = search(tmp_path, judge=judge)
    tried = [idea.digest for wave in found.waves for idea in wave.ideas]
    assert len(tried) == len(set(tried))
    assert len(judge.judged) == len(set(judge.judged))


# The judge decides what is timed


def test_the_whole_is_judged_once(tmp_path: Path) -> None:
    """What was put together has the code of what is known, beside which it is judged."""
    unknown = list[str]()

    class Watched(Judge):
        def __call__(
            self, best: Idea, known: Evidence | None, ideas: Sequence[Idea]
        ) -> dict[str, Evidence]:
            unknown.extend([best.name] if known is None else [])
            return super().__call__(best, known, ideas)

    found = search(tmp_path, judge=(judge := Watched()))
    assert unknown == [START.name]
    assert {wave.best.name for wave in found.waves} <= set(judge.judged)


class Script:
    """An author with a script."""

    name = "script"

    def __init__(self, *rewrites: Rewrite) -> None:
        self.rewrites, self.told = list(rewrites), list[Findings]()

    def improve(self, found: Findings) -> Rewrite | None:
        self.told.append(found)
        return self.rewrites.pop(0) if self.rewrites else None


FAKE = Rewrite("the work need not be done", 0.9, {KERNEL: SOURCE + "# skips the work\n"})


def said(best: Idea) -> Findings:
    return Findings("rms_norm", "SPEC", best.sources, [], "")


def test_a_fake_never_wins(tmp_path: Path) -> None:
    """It would be the fastest by far, and is never timed: not even when it is proposed again."""
    quick = Bench(lambda kernel, *where: 1e-9 if "skips" in kernel else cost(kernel, *where))
    author = Script(FAKE, FAKE)
    found = search(tmp_path, Rewrites(author, said), bench=quick)
    assert found.best.digest == START.digest
    assert not any("skips" in kernel for kernel in quick.raced)
    assert [wave.problem(*wave.ideas) for wave in found.waves] == ["forward: y is 0, truth 1"] * 2
    assert "not timed: forward: y is 0" in (tmp_path / "notebook.md").read_text()


def test_an_author_goes_on_from_the_sweep(tmp_path: Path) -> None:
    """What it changes is timed beside the best of the sweep; the spec is not its to change."""
    faster = Bench(
        lambda kernel, *where: cost(kernel, *where) * (0.8 if "# fused" in kernel else 1)
    )

    class Fuses(Script):
        def improve(self, found: Findings) -> Rewrite | None:
            super().improve(found)
            text = found.sources[KERNEL]
            if "# fused" in text:
                return None
            return Rewrite("one pass", 0.2, {KERNEL: text + "# fused\n", "spec.py": "SPEC = None"})

    author = Fuses()
    found = search(tmp_path, Sweep(SIZES), Rewrites(author, said), bench=faster)
    assert author.told[0].sources != START.sources
    assert "# fused" in found.best.sources[KERNEL] and list(found.best.sources) == [KERNEL]
    assert found.stopped == "nothing is left to try"


def test_what_is_wrong_from_the_start_is_not_tuned(tmp_path: Path) -> None:
    broken = Idea(name="it", hypothesis="", expected=0, sources=dict(FAKE.sources))
    with pytest.raises(VerificationFailed, match="it failed: forward: y is 0"):
        search(tmp_path, start=broken)


def test_what_was_put_together_is_judged_too(tmp_path: Path) -> None:
    """If it fails as a whole, the best that was judged and timed as it is stays."""

    class Suspicious(Judge):
        def verdict(self, idea: Idea) -> Evidence:
            if idea.name.startswith("best"):
                idea = idea.model_copy(update={"sources": FAKE.sources})
            return super().verdict(idea)

    found = search(tmp_path, judge=Suspicious())
    assert found.stopped == "best of wave 1 failed: forward: y is 0, truth 1"
    (wave,) = found.waves
    assert found.best in wave.ideas and wave.verdicts[found.best.digest].passed
    gains = {idea.name: gain(wave.ratios(idea)) for idea in wave.ideas}
    assert gains[found.best.name] == max(gains.values()) > 0.1


# The notebook


def test_an_idea_is_written_down_before_it_is_tried(tmp_path: Path) -> None:
    seen = list[str]()

    class Reads(Judge):
        def verdict(self, idea: Idea) -> Evidence:
            lines = (tmp_path / "notebook.jsonl").read_text().splitlines()
            kept = {json.loads(line).get("idea", {}).get("name") for line in lines}
            if idea.name not in kept:
                seen.append(idea.name)
            return super().verdict(idea)

    found = search(tmp_path, judge=Reads())
    put_together = {wave.best.name for wave in found.waves}
    assert set(seen) <= put_together
    page = (tmp_path / "notebook.md").read_text()
    first = found.waves[0].ideas[0]
    assert page.index(f"| {first.name} | {first.hypothesis} |") < page.index("saves ")
    assert "```diff" in page and "## End" in page


def test_a_killed_search_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    lines = (tmp_path / "whole" / "notebook.jsonl").read_text().splitlines(keepends=True)
    second = next(n for n, line in enumerate(lines) if '"tried": 2' in line)
    text = "".join(lines[:second]) + lines[second][:100]  # killed while it wrote
    (tmp_path / "cut" / "notebook.jsonl").write_text(text)
    bench, judge = Bench(), Judge()
    again = search(tmp_path / "cut", bench=bench, judge=judge)
    names = {idea.name for idea in again.waves[0].ideas}
    assert not names & set(judge.judged)
    assert again.waves[0] == whole.waves[0]
    assert again.best.digest == whole.best.digest
    pages = [(tmp_path / name / "notebook.md").read_text() for name in ("whole", "cut")]
    assert pages[0].split("## Wave 2")[0] == pages[1].split("## Wave 2")[0]


def test_a_record_that_was_edited_is_not_believed(tmp_path: Path) -> None:
    search(tmp_path)
    file = tmp_path / "notebook.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"passed": true', '"passed": false').replace("made up", "mine"))
    judge = Judge()
    search(tmp_path, judge=judge)
    assert judge.judged


# The rules


def ratio(median: float, way: Direction = "forward", rows: int = 8, wide: float = 0.002) -> Ratio:
    over = Interval(low=median - wide, median=median, high=median + wide)
    return Ratio(rows=rows, cols=64, direction=way, seconds=1e-4, over=over)


def test_the_host_may_be_as_slow_as_it_was_seen_to_be() -> None:
    """30 % between two processes of the same code: what takes 40 % more may be as fast."""
    found = measurement("rms_norm", {OURS: SOURCE, "itself": SOURCE}, cost, SIZES[:1], 1)
    (point,) = found.points

    def hosts(ours: float, theirs: float) -> Measurement:
        both = zip(point.results, (ours, theirs), strict=True)
        results = [r.model_copy(update={"host_seconds": {"forward": t}}) for r, t in both]
        kept = point.model_copy(update={"results": tuple(results)})
        return found.model_copy(update={"points": (kept,)})

    apart = host_noise(hosts(100e-6, 130e-6), "itself")
    assert apart == pytest.approx(0.3)
    assert costs(hosts(154e-6, 100e-6), "itself", apart) == []
    (said,) = costs(hosts(157e-6, 100e-6), "itself", apart)
    assert said == "forward 16384 x 1024 takes 1.57x the host's time"


def test_nothing_is_faster_at_anybodys_expense() -> None:
    assert faster([ratio(0.9), ratio(1.0, "backward")], 0.005)
    assert not faster([ratio(0.995), ratio(0.995, "backward")], 0.005)  # no gain
    assert not faster([ratio(0.96)], 0.05)  # within noise
    assert not faster([ratio(0.9, wide=0.2)], 0.005)  # not sure
    assert not faster([ratio(0.5), ratio(1.06, rows=4)], 0.005)  # 6 % worse at another size
    assert faster([ratio(0.5), ratio(1.04, rows=4)], 0.005)
    assert not faster([ratio(1.03), ratio(0.5, rows=4)], 0.005)  # 3 % worse where it counts
    paid = [ratio(0.5), ratio(1.04, "backward")]
    assert not faster(paid, 0.005)
    assert expenses(paid) == [
        "backward 8 x 64 takes 1.04x the time, for the other direction's sake"
    ]


@given(st.lists(st.floats(0.2, 5.0), min_size=1))
def test_a_gain_is_a_mean(medians: list[float]) -> None:
    mean = math.prod(medians) ** (1 / len(medians))
    assert gain([ratio(m) for m in medians]) == pytest.approx(1 - mean, rel=1e-6, abs=1e-9)


def test_a_target_counts_at_the_largest_size_of_each_width() -> None:
    found = measurement("it", {OURS: SOURCE}, lambda k, r, c, w: 1e-8 * r, SIZES, 1)
    shares = {key: floors(found)[key] / times(found)[key] for key in times(found)}
    least = min(shares[rows, cols, "forward"] for rows, cols in SIZES if rows != 256)
    for text, reached in (
        (f"fwd>={least - 0.0005:.6f}", True),
        (f"fwd >= {least + 0.0005:.6f}", False),
    ):
        assert Target.parse(text).reached(times(found), floors(found)) is reached
    own = shares[16384, 4096, "backward"]
    assert Target.parse(f"bwd>={own - 0.0005:.6f}@16384x4096").reached(times(found), floors(found))
    assert not Target.parse("fwd>=0.1@3x3").reached(times(found), floors(found))


@pytest.mark.parametrize("text", ["", "fwd", "fwd>0.9", "sideways>=0.9", "fwd>=0", "fwd>=90"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no target"):
        Target.parse(text)


def test_a_target_or_a_budget_ends_the_search(tmp_path: Path) -> None:
    easy = Patience(3600.0, [Target.parse("fwd>=0.01")])
    found = search(tmp_path / "a", patience=easy)
    assert not found.waves and found.stopped == "fwd>=0.01 is reached"
    found = search(tmp_path / "b", patience=Patience(0.0))
    assert not found.waves and "budget" in found.stopped


def test_a_wave_is_as_long_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    patience = Patience(100.0)
    assert patience.room(10) == 10  # nobody knows yet what one takes
    now[0] += 60.0
    patience.note(0.5, 60.0, 10)
    assert not patience.over({}, {}) and patience.room(10) == 6
    now[0] += 36.0
    patience.note(0.5, 36.0, 6)
    assert patience.over({}, {}) == "the budget of 100 s is spent"


# The race


class Runner:
    def __init__(self, seconds: dict[Direction, float]) -> None:
        self.seconds, self.turns = seconds, 0

    def samples(self, calls: int, direction: Direction) -> list[float]:
        self.turns += 1
        return [self.seconds[direction]] * calls


def test_who_is_far_behind_stops_early() -> None:
    """Not who is fast in one direction: that may be kept without the other."""
    import random

    of: dict[str, tuple[float, float]] = {"a": (1, 1), "near": (1.05, 1.05), "half": (0.9, 3.0)}
    of["far"] = (1.2, 1.2)
    runners = {n: Runner({"forward": f, "backward": b}) for n, (f, b) in of.items()}
    timed = interleave(
        runners,
        ["forward", "backward"],
        rounds=8,
        calls=2,
        chance=random.Random(1),
        beaten=beaten,
    )
    assert {name: len(found["forward"]) for name, found in timed.items()} == {
        "a": 8,
        "near": 8,
        "half": 8,
        "far": 3,
    }


@settings(max_examples=30)
@given(st.integers(1, 200000))
def test_a_width_is_the_power_of_two_that_holds_the_row(cols: int) -> None:
    import triton

    (table,) = tables(HEAD + "FORWARD = ByWidth({'stages': 1})").values()
    assert table.width(cols) == triton.next_power_of_2(cols)
