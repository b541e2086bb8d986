"""Measuring: what timings come to, turns, who loses; and the processes that are timed.

Nothing is timed here: on a CPU no time is claimed, so the clocks below are made up.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from court import write_fixture
from hypothesis import given
from hypothesis import strategies as st
from runs_fixtures import git, without_gpu

from workbench.bench import bench as benching
from workbench.bench import heat, table, tasks
from workbench.bench import measure as measuring
from workbench.bench import statistics as ours
from workbench.bench.bench import plan
from workbench.bench.contest import Direction, interleave
from workbench.bench.entrant import Entrant, Rival
from workbench.bench.heat import LEAST_FEW, MOST_DRAWN, Heat, how_few
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.bench.peers import peers
from workbench.bench.progress import Step
from workbench.channel import Channel
from workbench.errors import EvidenceError, UsageError
from workbench.jobs.gpus import Gpu
from workbench.jobs.local import Local
from workbench.judge import sandbox
from workbench.judge.clocks import Seconds
from workbench.judge.place import Place
from workbench.judge.remote import Raised, Remote
from workbench.judge.repeated import last_rows, times
from workbench.judge.sandbox import Sandbox
from workbench.judge.stage import Stage, prepare
from workbench.repository import Repository, content
from workbench.runs.store import Store
from workbench.worker import timing
from workbench.worker.calls import Call
from workbench_kernels import truth
from workbench_kernels.bound import compare
from workbench_kernels.spec import OpSpec, Traffic

SECONDS = st.floats(1e-6, 1.0)
# So long that the device's clock ticks often enough.
LONG = st.floats(1e-5, 1.0)
WAYS = ("forward", "backward", "both")


@given(st.lists(SECONDS, min_size=1, max_size=60))
def test_a_median_lies_in_its_interval(values: list[float]) -> None:
    found = ours.interval(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.median == statistics.median(values)


@pytest.mark.parametrize("count", [9, 12, 20])
def test_an_interval_holds_the_median_as_often_as_it_says(count: int) -> None:
    chance = random.Random(1)
    draws = [[chance.expovariate(1.0) for _ in range(count)] for _ in range(2000)]
    held = sum(ours.interval(values).holds(0.6931) for values in draws) / len(draws)
    assert 0.94 <= held < 0.99


@given(st.lists(st.lists(LONG, min_size=3, max_size=3), min_size=6, max_size=12))
def test_what_slows_both_down_does_not_count(rounds: list[list[float]]) -> None:
    assert not ours.differ(ours.ratio(rounds, rounds))
    twice = ours.ratio([[2 * value for value in values] for values in rounds], rounds)
    assert ours.differ(twice)
    assert twice.median == pytest.approx(2.0)


class Clock:
    """A contender that takes `seconds`, times what the machine does at that moment."""

    def __init__(self, seconds: float, machine: list[str], name: str) -> None:
        self.seconds, self.machine, self.name = seconds, machine, name

    def samples(self, calls: int, direction: Direction) -> list[float]:
        self.machine.append(f"{self.name} {direction}")
        drift = 1.0 + len(self.machine) / 50
        return [self.seconds * drift for _ in range(calls)]


def contest(times: dict[str, float], rounds: int = 9) -> tuple[dict[str, Result], list[str]]:
    turns: list[str] = []
    contenders = {name: Clock(seconds, turns, name) for name, seconds in times.items()}
    timed = interleave(
        contenders, ["forward", "both"], rounds=rounds, calls=3, chance=random.Random(1)
    )
    results = {
        name: Result(
            contender=name, rounds=found, host_seconds={"forward": 1e-5, "both": 2e-5}, error=0.5
        )
        for name, found in timed.items()
    }
    return results, turns


def point(times: dict[str, float], rows: int = 128) -> Point:
    results, _ = contest(times)
    return Point(
        rows=rows,
        cols=4096,
        dtype="bfloat16",
        bytes={"forward": 2.0 * 2 * rows * 4096, "both": 5.0 * 2 * rows * 4096},
        floors={"forward": 5e-6, "both": 1e-5},
        results=tuple(results.values()),
    )


def test_everyone_has_a_turn_in_each_round() -> None:
    _, turns = contest({"a": 1.0, "b": 1.0, "c": 1.0})
    by_round = [turns[i : i + 6] for i in range(0, len(turns), 6)]
    every = sorted(f"{name} {way}" for name in "abc" for way in ("forward", "both"))
    assert [sorted(one) for one in by_round] == [every] * 9
    assert len({tuple(one) for one in by_round}) > 1


def test_processes_of_the_same_code_may_differ_a_little() -> None:
    def against(seconds: float, apart: float) -> ours.Interval:
        return ours.ratio([[seconds * (1 + apart)]] * 12, [[seconds]] * 12)

    assert not ours.differ(against(1e-3, 0.009)) and ours.differ(against(1e-3, 0.012))
    assert not ours.differ(against(1e-5, 0.045)) and ours.differ(against(1e-5, 0.06))
    long, short = (ours.of_rounds([[seconds]] * 12) for seconds in (1e-3, 1e-5))
    assert (long.spread, short.spread) == (pytest.approx(0.05), pytest.approx(0.2))


def test_a_drifting_machine_hides_no_difference_and_makes_none() -> None:
    found = point({OURS: 1e-5, "again": 1e-5, "slower": 1.2e-5, "faster": 0.7e-5})
    same, slower, faster = (found.against(n, "forward") for n in ("again", "slower", "faster"))
    assert same is not None and slower is not None and faster is not None
    assert same.spread < 0.2
    assert slower.median == pytest.approx(1 / 1.2, rel=0.1)
    assert faster.low > 1.2
    assert found.loses()
    assert not point({OURS: 1e-5, "slower": 2e-5}).loses()
    assert found.against("nobody", "forward") is None


def test_a_floor_is_of_bytes_or_of_products() -> None:
    """Whichever takes longer; an op of products shows its rate of operations too."""
    ceilings = {"copy bytes/s": 4e12, "bf16 FLOP/s": 8e14}
    moved: dict[Direction, float] = {"forward": 4e6, "both": 8e6}
    flops: dict[Direction, float] = {"forward": 8e6, "both": 8e9}
    floors = heat._floors(moved, flops, ceilings)
    assert floors == {"forward": pytest.approx(1e-6), "both": pytest.approx(1e-5)}
    assert heat._floors(moved, flops, {}) == {}
    spec = OpSpec(
        name="product",
        tier=3,
        reference=lambda x: x,
        inputs=lambda rows, cols: (),
        tensors=("x",),
        differentiable=("x",),
        forward=Traffic(reads=1, writes=1, flops=2 * 4096),
        backward=Traffic(reads=2, writes=1, flops=4 * 4096),
        shapes=((2, 8),),
        sweep=((2, 8),),
    )
    _, counted = heat._work(spec, 1000, torch.bfloat16, ["forward", "backward", "both"])
    assert counted == {"forward": 8192e3, "backward": 16384e3, "both": 24576e3}
    one = point({OURS: 1e-5}).model_copy(update={"flops": {"forward": 5e9}})
    ours_now = one.of(OURS)
    assert ours_now is not None
    shown = float(table.row(one, "forward")["TFLOP/s"])
    assert shown == pytest.approx(5e9 / ours_now.times["forward"].median / 1e12, abs=0.5)
    assert "TFLOP/s" not in table.row(one, "both")


def test_losses_come_first() -> None:
    won, lost = point({OURS: 1e-5, "eager": 2e-5}, 8192), point({OURS: 3e-5, "eager": 1e-5}, 128)
    found = Measurement(
        op="relu2", device="a GPU", seed=1, ceilings={"copy bytes/s": 4e12}, points=(won, lost)
    )
    assert [row["size"] for row in table.rows(found)] == ["128 x 4096"] * 2 + ["8192 x 4096"] * 2
    assert "a peer is faster at 1" in found.summary()
    first, *_, last = table.rows(found)
    assert float(first["eager"][:-1]) == pytest.approx(1 / 3, rel=0.1)
    assert float(last["eager"][:-1]) == pytest.approx(2, rel=0.1)
    assert Measurement.model_validate_json(found.model_dump_json()) == found


def test_a_contender_without_timings_is_named() -> None:
    results = (Result(contender=OURS, problem="ValueError: too wide"),)
    none = Point(rows=1, cols=1, dtype="float32", bytes={}, floors={}, results=results)
    found = Measurement(op="relu2", device="a GPU", seed=1, ceilings={}, points=(none,))
    assert table.rows(found) == []
    assert table.problems(found) == ["workbench: ValueError: too wide"]


@given(st.integers(1, 10**6), st.integers(1, 300) | st.integers(1, 10**6))
def test_few_rows_make_up_all(rows: int, cols: int) -> None:
    few = how_few(rows, cols)
    assert rows % few == 0 and few <= rows
    assert few != cols or few == rows
    assert few * cols <= MOST_DRAWN or few <= LEAST_FEW or few == rows


def test_no_tensor_without_rows_is_taken_for_one_with() -> None:
    """A group norm over 16 channels has weights that are 16 long, however many rows there are."""
    sized = how_few(32768, 3136)
    assert sized == 16

    class Referee:
        def draw(
            self, rows: int, cols: int, dtype: torch.dtype, seed: int
        ) -> tuple[torch.Tensor, ...]:
            return torch.empty(rows, cols), torch.empty(16)

    def few(size: tuple[int, int]) -> int:
        given: Any = Referee()
        chance = random.Random(0)
        heat = Heat(given, {}, {}, size, torch.float32, chance=chance, seed=0)
        return heat._few()

    assert few((32768, 3136)) == 8
    assert few((32768, 1024)) == how_few(32768, 1024) == 64
    assert few((7, 3136)) == 7


@pytest.mark.parametrize(
    ("dtype", "sizes"), [("int8", []), ("bloat16", []), (None, ["12"]), (None, ["0x4"])]
)
def test_what_can_not_be_measured_is_refused(dtype: str | None, sizes: list[str]) -> None:
    with pytest.raises(UsageError):
        plan(dtype, sizes, None)


def test_what_was_asked_for() -> None:
    asked = plan("float32", ["8192x4096", "16,32"], 3)
    assert (asked.dtype, asked.sizes, asked.rounds) == (torch.float32, [(8192, 4096), (16, 32)], 3)
    assert plan(None, [], None).sizes is None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, list[str]]]:
    """Where relu2's contenders run, in the interpreter, and the path they find it on."""
    root = write_fixture(tmp_path_factory.mktemp("relu2"), "relu2")
    with tempfile.TemporaryDirectory() as folder:
        stage = prepare(root, "relu2", Path(folder))
        with Place(stage, sandbox.find(), "cpu", time.monotonic() + 300) as opened:
            yield opened, stage.path(stage.suite)


def entrant(place: tuple[Place, list[str]], rival: Rival) -> Entrant:
    job = place[0].host.contend()
    remote = Remote(Channel(job.end), time.monotonic() + 60, job.ending)
    return Entrant(remote, rival, place[0].referee.spec, place[1])


@pytest.mark.parametrize("how", ["op", "reference"])
def test_a_contender_gives_what_the_op_must_give(how: str, place: tuple[Place, list[str]]) -> None:
    """A few rows are sent, and repeated where they are needed: the last ones have a known truth."""
    referee, few = place[0].referee, 4
    values = [referee.draw(few, 31, torch.bfloat16, seed) for seed in (1, 2)]
    expect = partial(referee.expect, seed=1)
    spec = referee.spec
    expected = [last_rows(expect, spec, inputs, few, 5 * few) for inputs in values]
    timed = entrant(place, Rival("it", how))

    over = times(5 * few, few)
    timed.put_pool(values, expected[0].upstream, over)
    got = timed.results(1, few, backward=True)
    assert got["y"].shape == (few, 31)
    found = compare(got, expected[1])
    assert [c.message for c in found] == ["", ""]
    timed.put_pool(values[:1], expected[0].upstream, over)  # the former pool is dropped
    again = compare(timed.results(0, few, backward=True), expected[0])
    assert [c.message for c in again] == ["", ""]


def test_a_peer_is_a_function_of_a_package(place: tuple[Place, list[str]]) -> None:
    peer = entrant(place, Rival("relu", "call", "torch.nn.functional:relu"))
    values = [place[0].referee.draw(4, 8, torch.float32, 1)]
    peer.put_pool(values, [None], lambda t: 1)
    assert torch.equal(peer.results(0, 4, backward=False)["y"], values[0][0].relu())
    with pytest.raises(Raised, match="no_such_package"):
        entrant(place, Rival("nobody", "call", "no_such_package:f"))


def test_a_peer_takes_its_own_arguments(place: tuple[Place, list[str]], tmp_path: Path) -> None:
    file = tmp_path / "peers.toml"
    file.write_text('[torch]\nrelu2 = "torch.nn.functional:hardtanh(x, -0.5, max_val=0.25)"\n')
    (rival,) = peers(place[0].referee.spec, file)
    assert rival.name == f"torch {torch.__version__}"
    peer = entrant(place, rival)
    values = [place[0].referee.draw(4, 8, torch.float32, 1)]
    peer.put_pool(values, [None], lambda t: 1)
    expected = torch.nn.functional.hardtanh(values[0][0], -0.5, 0.25)
    assert torch.equal(peer.results(0, 4, backward=False)["y"], expected)


@pytest.mark.parametrize(
    ("loss", "share"),
    [
        (lambda x: x.square().sum(-1), 1.0),
        (lambda x: x.square().sum(), 1.0),
        (lambda x: x.square().mean(), 1 / 10),
        (lambda x: (x.square().mean(), x.sum(-1)), None),  # who knows what of it is whose
        (lambda x: x.square().sum().sqrt(), None),
    ],
)
def test_rows_may_share_a_gradient(loss: Any, share: float | None) -> None:
    """Of forty rows that are the same four, each has a tenth of what it has of a mean."""
    spec = OpSpec(
        name="loss",
        tier=1,
        reference=lambda x, weight: loss(x * weight),
        inputs=lambda rows, cols: (torch.randn(rows, cols), torch.randn(cols)),
        tensors=("x", "weight"),
        differentiable=("x", "weight"),
        forward=Traffic(reads=1, writes=0),
        backward=Traffic(reads=1, writes=1),
        shapes=((4, 8),),
        sweep=((4, 8),),
    )
    inputs = (torch.randn(4, 8), torch.randn(8))
    of_few = truth.expect(spec, inputs, needs=["x"], seed=1)
    found = last_rows(partial(truth.expect, spec, seed=1), spec, inputs, 4, 40)
    assert "dweight" not in found.truth
    assert ("dx" in found.truth) is (share is not None)
    if share is not None:
        many = tuple(t.repeat(10, 1) if t.ndim == 2 else t for t in inputs)
        upstream = [dy.repeat(10) if dy is not None and dy.ndim else dy for dy in of_few.upstream]
        of_all = truth.run(spec, spec.reference, many, upstream)["dx"][-4:]
        assert torch.allclose(found.truth["dx"], of_all.double(), rtol=1e-4)
        assert torch.equal(found.worst_error["dx"], of_few.worst_error["dx"] * share)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A GPU that is none: contenders load and compute on the CPU, and take what is written here.
    What is returned holds by how much the device's events are off.
    """

    def place(stage: Stage, level: Sandbox, device: str, deadline: float) -> Place:
        assert device == "cuda"
        return Place(stage, level, "cpu", deadline)

    lies = [1.0]
    monkeypatch.setattr(measuring, "Place", place)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    methods: dict[str, Any] = {
        "warm_up": lambda it, calls, backward: None,
        "samples": lambda it, calls, direction: [1e-5] * calls,
        "time": lambda it, calls, backward: Seconds(1e-3 + 1e-4 * calls, lies[-1] * 1e-4 * calls),
        "host_seconds": lambda it, calls, backward: dict.fromkeys(
            WAYS if backward else WAYS[:1], 1e-5
        ),
        "peak_bytes": lambda it: 64,
        "ceilings": lambda it: {"copy bytes/s": 4e12},
    }
    for name, method in methods.items():
        monkeypatch.setattr(Entrant, name, method)
    return lies


def test_a_measurement_over_a_made_up_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_up: list[float]
) -> None:
    """All of it but the device: contenders load and are right; each size is drawn once for all."""
    root, drawn = write_fixture(tmp_path, "relu2"), []

    def draw(heat: Heat) -> Any:
        drawn.append(heat._size)
        return draw_once(heat)

    draw_once = Heat.draw
    monkeypatch.setattr(Heat, "draw", draw)
    rivals = (Rival(OURS, "op"), Rival("eager", "reference"), Rival("relu", "call", "nothing:f"))
    sizes, steps = [(32, 24), (6, 40)], list[Step]()
    asked = measuring.Plan(sizes, rivals=rivals, rounds=6)
    found = measuring.measure(root, "relu2", asked, steps.append)
    assert drawn == sizes
    assert [step.point for step in steps if step.point] == list(found.points)
    assert [(step.done, step.sizes) for step in steps if step.point] == [(1, 2), (2, 2)]
    last = {(step.what, step.contender) for step in steps if step.doing == "round 6 of 6"}
    assert last == {(size, name) for size in ("32 x 24", "6 x 40") for name in (OURS, "eager")}
    assert not found.failures
    assert [r.problem.partition(":")[0] for r in found.points[0].results] == [
        "",
        "",
        "ModuleNotFoundError",
    ]
    assert found.points[1].clock["both"] == pytest.approx((1e-4, 1e-4))
    assert found.points[1].against("eager", "backward") == ours.Interval(
        low=0.95, median=1, high=1.05
    )

    made_up.append(0.5)
    found = measuring.measure(root, "relu2", measuring.Plan(sizes[:1], rivals=rivals, rounds=6))
    said = "(32, 24) forward: 50.0 us a call by its events, 100.0 by our clock"
    assert found.failures[0] == said


def test_what_events_add_is_found_though_the_host_is_late() -> None:
    """A kernel of 3 us, further ones of 2.5, events that add 2; half of the pairs show the host."""
    one, more = [0.005] * 40, [0.025] * 40
    late = [0.005] * 20 + [0.3] * 20, [0.9] * 20 + [0.025] * 20
    assert timing.besides(one, more, 8) == pytest.approx(0.0025)
    assert timing.besides(*late, 8) == pytest.approx(0.0025)


@pytest.mark.parametrize(("room", "calls"), [(1000, 8), (3, 3), (0, 1)])
def test_the_host_is_timed_as_in_a_training_step(
    room: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run of autograd for all calls, each with leaves of its own; fewer where memory is short;
    the step that comes first after a wait does not count.
    """
    clock, runs = [0.0], list[int]()
    engine = torch.autograd.grad

    def function(x: torch.Tensor) -> torch.Tensor:
        clock[0] += 3.0
        return x.square()

    def grad(ys: Any, wanted: Any, *given: Any, **options: Any) -> Any:
        runs.append(len({id(leaf) for leaf in wanted}))
        clock[0] += 2.0 * len(ys) if len(runs) % 2 == 0 else 100.0
        return engine(ys, wanted, *given, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(timing, "peak_bytes", lambda function, call: 1)
    monkeypatch.setattr(timing, "_room", lambda: room)
    pool = [Call(["x"], [torch.ones(2)], ["x"], [torch.ones(2)], {}) for _ in range(3)]
    monkeypatch.setattr(timing, "_STEPS_SECONDS", 1e6)
    found = timing.host_seconds(function, pool, 8, backward=True)
    assert found == {"forward": 3.0, "backward": 2.0, "both": 5.0}
    assert runs == [calls] * 2 * timing._STEPS
    monkeypatch.setattr(timing, "_STEPS_SECONDS", 1.0)  # the device takes long
    assert timing.host_seconds(function, pool, 8, backward=True) == found
    assert runs == [calls] * 2 * (timing._STEPS + 1)
    assert timing.host_seconds(function, pool, 8, backward=False) == {"forward": 3.0}


@pytest.mark.usefixtures("made_up")
def test_an_op_that_can_not_be_loaded_is_a_failure(tmp_path: Path) -> None:
    """One, not one per size; the others are timed."""
    root = write_fixture(tmp_path, "relu2")
    (root / "kernels/workbench_kernels/relu2/kernel.py").write_text("import no_such_package\n")
    rivals = (Rival(OURS, "op"), Rival("eager", "reference"))
    asked = measuring.Plan([(32, 24), (6, 40)], rivals=rivals, rounds=6)
    found = measuring.measure(root, "relu2", asked)
    (said,) = found.failures
    assert said.startswith("can't be loaded: ModuleNotFoundError: No module named 'no_such_package")
    assert [point.of(OURS) for point in found.points] == [None, None]
    assert [point.peers for point in found.points] == [["eager"], ["eager"]]


def test_a_record_is_of_the_files_as_they_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody edits them meanwhile."""
    root = write_fixture(tmp_path, "relu2")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "The library")
    before = content(root, "relu2").digests

    def measure(root: Path, op: str, *_: object) -> Measurement:
        return Measurement(op=op, device="a GPU", seed=1, ceilings={}, points=())

    monkeypatch.setattr(tasks, "measure", measure)
    monkeypatch.setattr(tasks, "_device", lambda: "a GPU")
    repository = Repository.discover(root)
    work = benching.Work(repository, Store(repository.state), measuring.Plan())
    here = Local([Gpu("GPU-1", "GPU-1", "a GPU")])
    jobs = work.jobs(["relu2"], here)
    (root / "kernels/workbench_kernels/relu2/kernel.py").write_text("edited")
    (done,) = here.run(jobs, lambda job, step: None)
    assert work.kept(done).evidence.files == before != content(root, "relu2").digests
    assert work.store.evidence(op="relu2")[0].data["device"] == "a GPU"

    (other,) = work.jobs(["relu2"], here)  # the edited one: what was measured is not of it
    with pytest.raises(EvidenceError, match=r"kernel.py was changed"):
        work.kept(replace(done, job=other))
    with pytest.raises(EvidenceError, match="was changed: its content's hash is"):
        work.kept(replace(done, result=(done.result[0] + " ", done.result[1])))


def test_two_revisions_travel_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is of the new one, by its commit."""
    root, kernel = write_fixture(tmp_path, "relu2"), "kernels/workbench_kernels/relu2/kernel.py"
    git(root, "init", "--quiet")
    for line in ("old", "new"):
        with (root / kernel).open("a") as file:
            file.write(f"# {line}\n")
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "-m", line)
    seen = list[str]()

    def measure(root: Path, op: str, plan: measuring.Plan, *_: object) -> Measurement:
        ours, before, eager = plan.rivals or ()
        assert (ours.root, eager.name) == (None, "eager") and before.root is not None
        seen.extend((folder / kernel).read_text().split()[-1] for folder in (before.root, root))
        return Measurement(op=op, device="a GPU", seed=1, ceilings={}, points=())

    monkeypatch.setattr(tasks, "measure", measure)
    monkeypatch.setattr(tasks, "_device", lambda: "a GPU")
    repository, here = Repository.discover(root), Local([Gpu("GPU-1", "GPU-1", "a GPU")])
    store = Store(repository.state)
    with benching.work(repository, store, measuring.Plan(), "HEAD~1..HEAD", False) as work:
        (done,) = here.run(work.jobs(work.ops(["relu2"]), here), lambda job, step: None)
        evidence = work.kept(done).evidence
    assert seen == ["old", "new"]
    assert evidence.commit == git(root, "rev-parse", "HEAD")
    assert evidence.files == content(root, "relu2").digests


def test_each_model_of_gpu_has_a_job(tmp_path: Path) -> None:
    root = write_fixture(tmp_path, "relu2")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "The library")
    repository = Repository.discover(root)

    def labels(work: benching.Work, *models: str) -> list[str]:
        here = Local([Gpu(f"GPU-{n}", f"GPU-{n}", model) for n, model in enumerate(models)])
        return [f"{job.label}: {job.gpu} {job.model}" for job in work.jobs(["relu2"], here)]

    work = benching.Work(repository, Store(repository.state), measuring.Plan())
    assert labels(work) == ["relu2: False "]
    assert labels(work, "A", "A") == ["relu2: True "]
    assert labels(work, "A", "B", "A") == ["relu2 on A: True A", "relu2 on B: True B"]
    watch = benching.Watch(repository, work.store, work.plan)
    (job,) = watch.jobs(["relu2"], Local([Gpu("GPU-1", "GPU-1", "A")]))
    assert job.function is tasks.watched
    with pytest.raises(UsageError, match="--check needs a GPU"):
        labels(watch)


def test_without_a_gpu_it_is_compiled_and_kept(tmp_path: Path) -> None:
    root = write_fixture(tmp_path, "relu2")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "The library")

    def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workbench", "bench", *arguments]
        return subprocess.run(
            command, cwd=root, env=without_gpu(), capture_output=True, text=True, check=False
        )

    shown = bench("relu2")
    assert shown.returncode == 0, shown.stderr
    first, *_ = shown.stdout.splitlines()
    assert "no GPU: compiled for sm_80 sm_90 sm_100" in first and "no time was measured" in first
    (kept,) = Store(Repository.discover(root).state).evidence(op="relu2")
    assert kept.kind == "compilation"
    floors = kept.data["floors"]
    assert [(f["rows"], f["cols"]) for f in floors] == [(1024, 4096), (8192, 4096), (8192, 14336)]
    most = 8192 * 14336 * 2  # bytes of one bfloat16 tensor; forward 1 + 1 of them, backward 2 + 1
    assert (floors[-1]["forward_bytes"], floors[-1]["backward_bytes"]) == (2 * most, 3 * most)
    assert f"{2 * most / 1e6:.1f}" in shown.stdout
    assert bench("nope").returncode == 2
