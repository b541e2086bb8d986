"""The checks of time, on a GPU: the judge's clock and the device's events agree, what is timed is
right, and the time is spent in the op's own kernels.

How the clocks are compared is in `workbench.judge.clocks`. Between the two runs the values change,
in the same memory; which of the pool's results are looked at is drawn afterwards.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from workbench.judge import clocks
from workbench.judge.clocks import Seconds
from workbench.judge.op import Op, Pool
from workbench.judge.trial import Skip, Trial, Wrong
from workbench_kernels.bound import Comparison, compare

POOL = 4
FEW = 10
# Tried again, when the judge's other work on the machine is done.
TRIES = 4
# The share of the GPU's time that the op's kernels take.
LEAST_SHARE = 0.9


@dataclass(frozen=True)
class Clock:
    """Each method is one check: it yields its trials. `seed` fixes every value that is drawn.

    `settle` waits until the judge itself has nothing else to do on this machine.
    """

    op: Op
    seed: int
    gpu: bool
    settle: Callable[[], object]
    chance: random.Random = field(default_factory=random.SystemRandom)

    def checks(self) -> dict[str, Callable[[], Iterator[Trial]]]:
        """The checks by name."""
        return {"clock": self.clock, "gpu time": self.gpu_time}

    def prepare(self) -> None:
        """Draw the inputs and move them there, while the GPU may do something else."""
        if self.gpu:
            self._pool  # noqa: B018

    def clock(self) -> Iterator[Trial]:
        """The time of the forward, and of both directions."""
        self._require_gpu()
        for label, backward in self._directions():
            yield Trial(label, partial(self._clocks_agree, backward))

    def gpu_time(self) -> Iterator[Trial]:
        """What the GPU's time is spent on."""
        self._require_gpu()
        for label, backward in self._directions():
            yield Trial(label, partial(self._own_share, backward))

    def _directions(self) -> list[tuple[str, bool]]:
        both = [("forward and backward", True)] if self.op.spec.differentiable else []
        return [("forward", False), *both]

    def _clocks_agree(self, backward: bool) -> list[Comparison]:
        pool = self._pool
        for attempt in range(TRIES):
            found = self._measure(pool, backward, turn=attempt + 1)
            if found.agree:
                break
            self.settle()
        else:
            raise Wrong(str(found))
        if self.op.spec.mutates:  # many calls over: it is the first one that has a truth
            for handles, values in zip(pool.inputs, pool.values, strict=True):
                self.op.write(handles, values)
            self._run(pool, POOL, backward)
        which = self.chance.randrange(POOL)
        needs = None if backward else ()  # to find gradients takes longest
        expected = self.op.expect(pool.values[which], needs=needs, seed=self.seed)
        got = self.op.timed_results(which, expected if backward else None)
        return [c for c in compare(got, expected) if backward or c.name.startswith("y")]

    def _measure(self, pool: Pool, backward: bool, turn: int) -> Seconds:
        """Seconds per call. The first ones may take longer, to compile and tune."""

        def between() -> None:
            for which, handles in enumerate(pool.inputs):
                pool.values[which] = _turned(pool.values[which], turn)
                self.op.write(handles, pool.values[which])

        run = partial(self._run, pool, backward=backward)
        run(FEW)
        return clocks.per_call(run, clocks.enough(run, FEW), between)

    def _run(self, pool: Pool, calls: int, backward: bool) -> Seconds:
        started = time.perf_counter()
        events = self.op.timed(pool, calls, backward=backward)
        return Seconds(time.perf_counter() - started, events)

    def _own_share(self, backward: bool) -> list[Comparison]:
        if self.op.spec.products:
            raise Skip("most of the time is that of its products")
        spent = self.op.kernel_times(self._pool, backward=backward)
        total = sum(spent.values())
        if not total:
            raise Skip("the profiler sees no kernel here")
        own = {name for facts in self.op.seen.calls for name, _, _ in facts.launches}
        share = sum(t for name, t in spent.items() if name in own) / total
        if share < LEAST_SHARE:
            other = max((name for name in spent if name not in own), key=lambda name: spent[name])
            raise Wrong(f"the op's kernels take {share:.0%} of the GPU's time; the rest: {other}")
        return []

    @cached_property
    def _pool(self) -> Pool:
        """Inputs of the smallest size that is measured; to move them takes longest, so once."""
        shape = min(self.op.spec.sweep, key=lambda s: s[0] * s[1])
        dtype = min(self.op.spec.dtypes, key=lambda d: (d.itemsize, d is torch.float16))
        drawn = [self.op.draw(*shape, dtype, self.seed + 100 + i) for i in range(POOL)]
        return self.op.put_pool(drawn, self.seed)

    def _require_gpu(self) -> None:
        if not self.gpu:
            raise Skip("nothing is timed without a GPU")


def _turned(inputs: Sequence[Tensor], turn: int) -> list[Tensor]:
    """The same numbers at other places."""
    return [t.roll(turn, dims=-1).contiguous() if t.ndim else t for t in inputs]
