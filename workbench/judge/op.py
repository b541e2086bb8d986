"""The op under judgement, as the checks see it: the referee knows what is right, the worker runs
the candidate, and what it gives is compared here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from workbench.judge.holding import Holding
from workbench.judge.referee import Referee
from workbench.judge.remote import Ended, Remote, check_raised
from workbench.judge.trial import Hand
from workbench_kernels.bound import Comparison, compare
from workbench_kernels.nn import module_name
from workbench_kernels.spec import OpSpec, Option
from workbench_kernels.truth import Expected, output_names


class CallFacts(BaseModel):
    """What the worker says of a call, besides the values. `launches` are (kernel, file, count)."""

    model_config = ConfigDict(frozen=True)

    outputs: int
    gradients: list[str]
    forms: list[str]
    aliases: list[bool]
    launches: list[tuple[str, str, int]]
    forward_launches: int = Field(alias="forward launches")
    ops: dict[str, int]
    kept: list[int] = []


@dataclass(frozen=True)
class Called:
    """A call's results by name, as in `Expected`, its inputs afterwards, and what was recorded."""

    results: dict[str, Tensor]
    inputs: list[Tensor]
    facts: CallFacts


@dataclass
class Seen:
    """What the worker told over a verdict: of plain calls that had elements, and what they left."""

    calls: list[CallFacts] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)


@dataclass
class Pool:
    """Several inputs of one size with the same gradients to send back, and the worker's handles."""

    values: list[Sequence[Tensor]]
    inputs: list[list[int]]
    upstream: list[list[int | None]]


class Op(Holding):
    """One candidate and its referee. Whatever is asked raises `Ended` once the worker is gone.

    Several workers may run the same candidate: a thread asks the first one, or the one whose hand
    it has entered. The candidate is called `name`, and lies on `path`.
    """

    def __init__(
        self, referee: Referee, workers: Sequence[Remote], name: str, path: Sequence[str]
    ) -> None:
        self.referee, self._workers, self._name, self._path = referee, workers, name, list(path)
        self._chosen, self._loaded = threading.local(), set[Remote]()
        self.seen = Seen()

    @property
    def spec(self) -> OpSpec:
        """The op's spec, as the referee describes it."""
        return self.referee.spec

    @property
    def hands(self) -> list[Hand]:
        """One for each worker: what a thread enters to ask it. The candidate is imported there."""
        return [partial(self._hand, worker) for worker in self._workers]

    @contextmanager
    def _hand(self, worker: Remote) -> Iterator[None]:
        self._chosen.worker = worker
        try:
            self.load()
            yield
        finally:
            del self._chosen.worker

    @property
    def _worker(self) -> Remote:
        return getattr(self._chosen, "worker", self._workers[0])

    def load(self) -> None:
        """Import the candidate in the worker, unless that is done.

        Raises:
            Raised: its import raises.
        """
        if (worker := self._worker) not in self._loaded:
            module = module_name(self._name)
            self._ask({"do": "load", "op": self._name, "module": module, "path": self._path})
            self._loaded.add(worker)

    # What the checks ask

    def draw(self, rows: int, cols: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, ...]:
        """As `Referee.draw`."""
        return self.referee.draw(rows, cols, dtype, seed)

    def expect(self, inputs: Sequence[Tensor], **options: Any) -> Expected:
        """As `Referee.expect`."""
        return self.referee.expect(inputs, **options)

    def run(
        self, inputs: Sequence[Tensor], expected: Expected | None = None, **options: Any
    ) -> dict[str, Tensor]:
        """Outputs and gradients by name; options as in `call`."""
        handles = self.put(inputs)
        try:
            return self.call(handles, expected, **options).results
        finally:
            self.drop(handles)

    def compare(
        self,
        inputs: Sequence[Tensor],
        *,
        parameters: Mapping[str, Option] | None = None,
        needs: Sequence[str] | None = None,
        seed: int = 0,
        layout: str = "",
    ) -> list[Comparison]:
        """Outputs and gradients against the truth, which is found before the op sees the inputs.

        Raises:
            Skip: the reference itself does not take these inputs.
        """
        expected = self.expect(inputs, parameters=parameters, needs=needs, seed=seed, layout=layout)
        return compare(self.run(inputs, expected, parameters=parameters, needs=needs), expected)

    # What the worker does

    def send(
        self, expected: Expected | None, times: Callable[[Tensor], int] = lambda t: 1
    ) -> list[int | None]:
        """Give it the gradients to send back, as `put_upstream`."""
        return self.put_upstream(expected.upstream if expected is not None else (), times)

    def call(
        self,
        handles: Sequence[int],
        expected: Expected | None = None,
        *,
        parameters: Mapping[str, Option] | None = None,
        needs: Sequence[str] | None = None,
        what: str = "function",
        poison: bool = False,
        launching: bool = True,
        keep: bool = False,
        inputs_back: bool = False,
        upstream: Sequence[int | None] | None = None,
        last: int | None = None,
        mode: str = "",
        inner: bool = False,
    ) -> Called:
        """Call the op on tensors the worker has; with `expected`, send its gradients back.

        `what` is called: the function, the function compiled, the module, or the module in eval
        mode. `poison` fills what is allocated with NaN, `launching` False leaves every kernel out,
        `keep` keeps the results, `inputs_back` returns the inputs as they are after the call,
        `upstream` are handles of the gradients instead of those expected, `last` returns only so
        many rows of each result, `mode` is what the caller has switched on: no_grad or
        inference_mode, `inner` gives it what another layer computed.

        Raises:
            Raised: what the op raised.
        """
        sent = upstream if upstream is not None else self.send(expected)
        body = {
            "do": "call",
            "what": what,
            **self._arguments(handles, needs, parameters),
            "upstream": sent,
            "backward": expected is not None,
            "poison": poison,
            "launching": launching,
            "keep": keep,
            "inputs back": inputs_back,
            "last": last,
            "mode": mode,
            "inner": inner,
        }
        reply, values = self._ask(body)
        if upstream is None:
            self.drop(sent)
        called = _called(_facts(reply), values)
        outputs = list(called.results.values())[: called.facts.outputs]
        has_elements = any(y.numel() for y in outputs)
        # Of a tensor in two places autograd adds the gradients up, which is not the op's doing.
        apart = len({*handles}) == len(handles)
        if what == "function" and launching and has_elements and apart:
            self.seen.calls.append(called.facts)
        return called

    def interleave(
        self, several: Sequence[Sequence[Tensor]], expected: Sequence[Expected]
    ) -> list[dict[str, Tensor]]:
        """The gradients of several calls, asked for when all of them have run forward.

        Raises:
            Raised: what the op raised.
        """
        calls = [
            {**self._arguments(self.put(inputs)), "upstream": self.send(one)}
            for inputs, one in zip(several, expected, strict=True)
        ]
        reply, values = self._ask({"do": "interleave", "calls": calls})
        given = iter(values)
        return [{f"d{name}": next(given) for name in names} for names in reply["names"]]

    def change(
        self, inputs: Sequence[Tensor], expected: Expected, changed: str
    ) -> dict[str, Tensor]:
        """The gradients where "inputs" or "outputs" are changed in place before the backward.

        Raises:
            Raised: what the op or autograd raised.
        """
        body = {"do": "change", "changed": changed, **self._arguments(self.put(inputs))}
        reply, values = self._ask({**body, "upstream": self.send(expected)})
        return {f"d{name}": t for name, t in zip(reply["names"], values, strict=True)}

    def twice(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Derivatives of its gradients.

        Raises:
            Raised: what the op raised, NotImplementedError where it refuses.
        """
        handles = self.put(inputs)
        return self._ask({"do": "twice", **self._arguments(handles), "upstream": []})[1]

    def opcheck(
        self, inputs: Sequence[Tensor], expected: Expected, tests: Sequence[str] | None = None
    ) -> None:
        """Let `torch.library.opcheck` look at its registered ops, in all its tests or in some.

        Raises:
            Raised: what it finds wrong.
        """
        handles, sent = self.put(inputs), self.send(expected)
        arguments = {**self._arguments(handles), "upstream": sent}
        self._ask({"do": "opcheck", "op": self.spec.name, "tests": tests, **arguments})

    # Many calls, on a GPU

    def put_pool(self, values: Sequence[Sequence[Tensor]], seed: int) -> Pool:
        """Give the worker several inputs; each has the upstream gradient in memory of its own."""
        expected = self.expect(values[0], seed=seed)
        return Pool(
            values=list(values),
            inputs=[self.put(inputs) for inputs in values],
            upstream=[self.send(expected) for _ in values],
        )

    def timed(self, pool: Pool, calls: int, *, backward: bool) -> float:
        """Call the op many times; seconds by the device's events, which are the worker's word."""
        body = {"do": "time", "calls": calls, **self._pooled(pool, backward)}
        return float(self._ask(body)[0]["milliseconds"]) / 1000

    def timed_results(self, which: int, expected: Expected | None) -> dict[str, Tensor]:
        """The last results of one of the pool in the last timed run, by name: the outputs, and with
        `expected` the gradients.
        """
        values = self._ask({"do": "timed results", "which": which})[1]
        gradients = [f"d{name}" for name in self.spec.differentiable] if expected else []
        outputs = len(values) - len(gradients)
        return dict(zip([*output_names(outputs), *gradients], values, strict=False))

    def kernel_times(self, pool: Pool, *, backward: bool) -> dict[str, float]:
        """Microseconds of GPU time by kernel, which are the worker's word."""
        reply, _ = self._ask({"do": "profile", **self._pooled(pool, backward)})
        return {str(name): float(spent) for name, spent in reply["kernels"].items()}

    def _pooled(self, pool: Pool, backward: bool) -> dict[str, Any]:
        pairs = zip(pool.inputs, pool.upstream, strict=True)
        calls = [{**self._arguments(own), "upstream": sent} for own, sent in pairs]
        return {"pool": calls, "backward": backward}

    def _ask(
        self, body: dict[str, Any], tensors: Sequence[Tensor] = ()
    ) -> tuple[dict[str, Any], list[Tensor]]:
        reply, values = self._worker.ask(body, tensors)
        self.seen.changed.update(str(change) for change in reply.get("changed", []))
        check_raised(reply)
        return reply, values


def _facts(reply: dict[str, Any]) -> CallFacts:
    try:
        return CallFacts.model_validate(reply)
    except ValidationError as error:
        raise Ended(f"does not answer as it should: {error.errors()[0]['msg']}") from error


def _called(facts: CallFacts, values: list[Tensor]) -> Called:
    names = [*output_names(facts.outputs), *(f"d{name}" for name in facts.gradients)]
    if len(values) < len(names):
        raise Ended("does not answer as it should: values are missing")
    return Called(dict(zip(names, values, strict=False)), values[len(names) :], facts)
