"""The judge's clock against a worker's word, on workers that only sleep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from workbench.judge import clocks
from workbench.judge.checks.clock import POOL, Clock
from workbench.judge.op import Op, Pool
from workbench.judge.trial import conduct
from workbench.judge.verdict import Check
from workbench_kernels.truth import Expected

CALL_SECONDS = 0.0005


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that sleeps keeps its time in shorter runs than a GPU's."""
    monkeypatch.setattr(clocks, "RUN_SECONDS", 0.015)


class Sleeper:
    """An op that adds one, whose call takes `CALL_SECONDS`; it says `claimed` times as long.

    It takes `slowed` times as long by the judge's clock alone, and the first run `tuning` seconds
    longer.
    """

    def __init__(self, claimed: float = 1.0, mutates: tuple[str, ...] = ()) -> None:
        self.spec = SimpleNamespace(
            sweep=[(4, 8), (2, 2)], dtypes=[torch.float32], differentiable=(), mutates=mutates
        )
        self._claimed = claimed
        self.wrong, self.slowed, self.tuning = 0.0, 1.0, 0.0
        self._memory: dict[int, Tensor] = {}
        self._results: dict[int, Tensor] = {}

    def draw(self, rows: int, cols: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, ...]:
        torch.manual_seed(seed)
        return (torch.randn(rows, cols),)

    def put_pool(self, values: Sequence[Sequence[Tensor]], seed: int) -> Pool:
        return Pool(list(values), [[i] for i in range(POOL)], [[] for _ in range(POOL)])

    def write(self, handles: Sequence[int], values: Sequence[Tensor]) -> None:
        self._memory[handles[0]] = values[0] + 0

    def timed(self, pool: Pool, calls: int, *, backward: bool) -> float:
        for call in range(calls):
            handle = call % POOL
            result = self._memory.get(handle, pool.values[handle][0]) + 1
            self._results[handle] = result
            if self.spec.mutates:
                self._memory[handle] = result
        time.sleep(self.slowed * calls * CALL_SECONDS + self.tuning)
        self.tuning = 0.0
        return self._claimed * calls * CALL_SECONDS

    def timed_results(self, which: int, expected: Expected | None) -> dict[str, Tensor]:
        return {"y": self._results[which] + self.wrong}

    def expect(self, inputs: Sequence[Tensor], needs: Any, seed: int) -> Expected:
        eager = {"y": inputs[0] + 1}
        truth = {"y": inputs[0].double() + 1}
        return Expected(eager, truth, (), lambda: {"y": torch.zeros_like(truth["y"])})


def clock(sleeper: Sleeper, settle: Any = lambda: None) -> Check:
    checks = Clock(cast(Op, sleeper), seed=1, gpu=True, settle=settle).checks()
    (check,) = conduct({"clock": checks["clock"]}, ended="process")
    return check


def test_an_honest_worker_agrees() -> None:
    check = clock(Sleeper())
    assert (check.status, check.cases) == ("passed", 1), check.message


def test_an_op_in_place_is_looked_at_after_one_call() -> None:
    sleeper = Sleeper(mutates=("x",))
    assert clock(sleeper).status == "passed", clock(sleeper).message
    sleeper.wrong = 0.01
    assert clock(sleeper).status == "failed"


def test_a_first_call_may_take_longer() -> None:
    sleeper = Sleeper()
    sleeper.tuning = 0.5
    assert clock(sleeper).status == "passed"


def test_nobody_gets_faster_by_waiting_in_the_shorter_run() -> None:
    def run(calls: int) -> clocks.Seconds:
        seconds = 1e-3 * calls + 0.001 + (0.05 if calls == 100 else 0.0)
        return clocks.Seconds(seconds, seconds)

    assert min(clocks.per_call(run, 99)) == pytest.approx(1e-3)
    assert min(clocks.per_call(run, 100)) > 1.4e-3


@pytest.mark.parametrize("claimed", [0.0, 0.5, 2.0])
def test_a_worker_that_tells_another_time_is_found_out(claimed: float) -> None:
    check = clock(Sleeper(claimed))
    assert check.status == "failed"
    assert "by its events" in check.message


def test_the_results_of_timed_calls_are_looked_at() -> None:
    sleeper = Sleeper()
    sleeper.wrong = 0.01
    assert "is" in clock(sleeper).message


def test_a_disturbed_machine_is_waited_for() -> None:
    sleeper, settled = Sleeper(), []
    sleeper.slowed = 2.0

    def settle() -> None:
        settled.append(1)
        sleeper.slowed = 1.0

    check = clock(sleeper, settle)
    assert check.status == "passed", check.message
    assert settled


def test_nothing_is_timed_without_a_gpu() -> None:
    checks = Clock(cast(Op, Sleeper()), seed=1, gpu=False, settle=lambda: None).checks()
    found = list(conduct(checks, ended="process"))
    assert {c.status for c in found} == {"skipped"}
    assert {c.message for c in found} == {"nothing is timed without a GPU"}
