"""A contender as the bench sees it: a jailed process that is asked for timings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from workbench.bench.contest import Direction
from workbench.judge.clocks import Seconds
from workbench.judge.holding import Holding
from workbench.judge.remote import Remote, check_raised
from workbench_kernels.spec import OpSpec
from workbench_kernels.truth import output_names


@dataclass(frozen=True)
class Rival:
    """What can be timed: `how` it is loaded (see `workbench.worker.contender`); `call` is the place
    of a peer's function, `arguments` what it takes instead of the op's tensors. `root` is the
    repository of an op that is another one's, `sources` are files of the op in place of its own.
    """

    name: str
    how: str
    call: str = ""
    arguments: Mapping[str, Any] | None = None
    root: Path | None = None
    sources: Mapping[str, str] | None = None


class Entrant(Holding):
    """A rival that is loaded in a process, on a pool of inputs."""

    def __init__(self, remote: Remote, rival: Rival, spec: OpSpec, path: Sequence[str]) -> None:
        self.rival, self._remote, self._spec = rival, remote, spec
        self._pool: list[dict[str, Any]] = []
        body = {"do": "load", "op": spec.name, "how": rival.how, "call": rival.call}
        self._ask({**body, "arguments": rival.arguments, "path": list(path)})

    @property
    def spec(self) -> OpSpec:
        """The op's spec."""
        return self._spec

    def put_pool(
        self,
        values: Sequence[Sequence[Tensor]],
        upstream: Sequence[Tensor | None],
        times: Callable[[Tensor], int],
    ) -> None:
        """Give it a pool of inputs with the gradients to send back, in place of what it had."""
        had, self._pool = self._pool, []
        for call in had:
            self.drop([*call["inputs"], *call["upstream"]])
        self._pool = [
            {
                **self._arguments(self.put(inputs, times)),
                "upstream": self.put_upstream(upstream, times),
            }
            for inputs in values
        ]

    def warm_up(self, calls: int, *, backward: bool) -> None:
        """Let it compile and tune."""
        self._ask({"do": "warm up", "pool": self._pool, "calls": calls, "backward": backward})

    def samples(self, calls: int, direction: Direction) -> list[float]:
        """Seconds by the device's events of each of so many calls."""
        reply = self._ask(
            {"do": "samples", "pool": self._pool, "calls": calls, "direction": direction}
        )[0]
        return [float(found) / 1000 for found in reply["milliseconds"]]

    def time(self, calls: int, *, backward: bool) -> Seconds:
        """Seconds of so many calls in a row."""
        started = time.perf_counter()
        reply = self._ask({"do": "time", "pool": self._pool, "calls": calls, "backward": backward})[
            0
        ]
        return Seconds(time.perf_counter() - started, float(reply["milliseconds"]) / 1000)

    def host_seconds(self, calls: int, *, backward: bool) -> dict[Direction, float]:
        """Seconds of the host for each of so many calls of a training step."""
        body = {"do": "host", "pool": self._pool, "calls": calls, "backward": backward}
        found = self._ask(body)[0]["seconds"]
        return {way: float(found[way]) for way in get_args(Direction) if way in found}

    def peak_bytes(self) -> int:
        """The most memory one forward and backward takes beyond its inputs."""
        return int(self._ask({"do": "memory", "pool": self._pool})[0]["bytes"])

    def results(self, which: int, last: int, *, backward: bool) -> dict[str, Tensor]:
        """The last rows of outputs and gradients of one of the pool, by name."""
        body = {
            "do": "results",
            "pool": self._pool,
            "which": which,
            "last": last,
            "backward": backward,
        }
        reply, values = self._ask(body)
        names = [*output_names(int(reply["outputs"])), *(f"d{n}" for n in reply["gradients"])]
        return dict(zip(names, values, strict=False))

    def ceilings(self) -> dict[str, float]:
        """What the GPU does at best."""
        reply = self._ask({"do": "ceilings"})[0]
        return {name: float(rate) for name, rate in reply.items()}

    def _ask(
        self, body: dict[str, Any], tensors: Sequence[Tensor] = ()
    ) -> tuple[dict[str, Any], list[Tensor]]:
        reply, values = self._remote.ask(body, tensors)
        check_raised(reply)
        return reply, values
