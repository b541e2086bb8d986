"""A contender as the bench sees it: a jailed process that is asked for timings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from workbench.bench.contest import Direction
from workbench.judge.remote import Remote, check_raised
from workbench_kernels.spec import OpSpec
from workbench_kernels.truth import Expected, output_names


@dataclass(frozen=True)
class Rival:
    """What can be timed: `how` it is loaded (see `workbench.worker.contender`); `call` is the place
    of a peer's function.
    """

    name: str
    how: str
    call: str = ""


class Entrant:
    """A rival that is loaded in a process; whatever is asked raises `Ended` once that is gone, and
    `Raised` what it raised.
    """

    def __init__(self, remote: Remote, rival: Rival, spec: OpSpec, path: Sequence[str]) -> None:
        self.rival, self._remote, self._spec = rival, remote, spec
        self._pool: list[dict[str, Any]] = []
        self._handles: list[int] = []
        body = {"do": "load", "op": spec.name, "how": rival.how, "call": rival.call}
        self._ask({**body, "path": list(path)})

    def put(
        self,
        values: Sequence[Sequence[Tensor]],
        upstream: Sequence[Tensor | None],
        times: Callable[[Tensor], int],
    ) -> None:
        """Give it a pool of inputs with the gradients to send back, in place of what it had."""
        self._ask({"do": "drop", "handles": self._handles})
        self._pool, self._handles = [], []
        for inputs in values:
            own = self._hand_over(inputs, times)
            given = iter(self._hand_over([dy for dy in upstream if dy is not None], times))
            sent = [None if dy is None else next(given) for dy in upstream]
            self._pool.append(
                {
                    "names": list(self._spec.tensors),
                    "inputs": own,
                    "needs": list(self._spec.differentiable),
                    "upstream": sent,
                    "parameters": {},
                }
            )

    def warm_up(self, calls: int, *, backward: bool) -> None:
        """Let it compile and tune."""
        self._ask({"do": "warm up", "calls": calls, "backward": backward})

    def samples(self, calls: int, direction: Direction) -> list[float]:
        """Seconds by the device's events of each of so many calls."""
        reply = self._ask({"do": "samples", "calls": calls, "direction": direction})[0]
        return [float(found) / 1000 for found in reply["milliseconds"]]

    def time(self, calls: int, *, backward: bool) -> tuple[float, float]:
        """Seconds of so many calls in a row, by our clock and by the device's events."""
        started = time.perf_counter()
        reply = self._ask({"do": "time", "calls": calls, "backward": backward})[0]
        return time.perf_counter() - started, float(reply["milliseconds"]) / 1000

    def host_seconds(self, calls: int, direction: Direction) -> float:
        """Seconds of the host for one call."""
        reply = self._ask({"do": "host", "calls": calls, "direction": direction})[0]
        return float(reply["seconds"])

    def peak_bytes(self) -> int:
        """The most memory one forward and backward takes beyond its inputs."""
        return int(self._ask({"do": "memory"})[0]["bytes"])

    def results(self, which: int, last: int, *, backward: bool) -> dict[str, Tensor]:
        """The last rows of outputs and gradients of one of the pool, by name."""
        body = {"do": "results", "which": which, "last": last, "backward": backward}
        reply, values = self._ask(body)
        names = [*output_names(int(reply["outputs"])), *(f"d{n}" for n in reply["gradients"])]
        return dict(zip(names, values, strict=False))

    def ceilings(self) -> dict[str, float]:
        """What the GPU does at best."""
        reply = self._ask({"do": "ceilings"})[0]
        return {name: float(rate) for name, rate in reply.items()}

    def _hand_over(self, tensors: Sequence[Tensor], times: Callable[[Tensor], int]) -> list[int]:
        body = {"do": "put", "repeat": [times(t) for t in tensors]}
        handles = [int(handle) for handle in self._ask(body, tensors)[0]["handles"]]
        self._handles += handles
        return handles

    def _ask(
        self, body: Mapping[str, Any], tensors: Sequence[Tensor] = ()
    ) -> tuple[dict[str, Any], list[Tensor]]:
        pool = {} if body["do"] in ("load", "put", "drop", "ceilings") else {"pool": self._pool}
        reply, values = self._remote.ask({**body, **pool}, tensors)
        check_raised(reply)
        return reply, values


def last_rows(expected: Expected, rows: int) -> Expected:
    """What is expected, but for sums over all rows, which many repeated rows have another of."""
    kept = [n for n, t in expected.eager.items() if t.ndim and t.shape[0] == rows]
    eager, truth = ({n: of[n] for n in kept} for of in (expected.eager, expected.truth))
    return replace(expected, eager=eager, truth=truth)
