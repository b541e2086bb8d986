"""One thing that is timed, in a process of its own: the op, its reference, the reference compiled,
or a peer's function that does the same. Nothing records here, so nothing slows it down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from workbench.worker import timing
from workbench.worker.holder import Holder, Reply, Request, detached, last_rows

# How `torch.compile` is asked for each kind of reference.
_COMPILED: dict[str, dict[str, Any]] = {
    "compile": {},
    "max-autotune": {"mode": "max-autotune-no-cudagraphs"},
}
# How much longer the device waits than the host took for a call right before.
_AHEAD, _AHEAD_SECONDS = 2.0, 1e-4


class Contender(Holder):
    """What `load` names, served over one channel until the other end closes it."""

    _how: str
    _loaded: Callable[..., Any]
    _function: Callable[..., Any]

    @cached_property
    def _events(self) -> float:
        """The milliseconds that a pair of events adds."""
        return timing.events_milliseconds()

    def _requests(self) -> Mapping[str, Request]:
        return {
            **super()._requests(),
            "load": self._load,
            "warm up": self._warm_up,
            "samples": self._samples,
            "time": self._time,
            "host": self._host,
            "memory": self._memory,
            "results": self._results,
            "ceilings": self._ceilings,
        }

    def _load(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Import what is to be timed."""
        import_module("workbench_kernels").__path__[:] = body["path"]
        self._how, self._loaded = body["how"], load(body["op"], body)
        self._function = self._loaded
        return {}, []

    def _warm_up(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Call it in both directions until it has compiled and tuned what it will."""
        first = self._pool(body)[0]
        example = dict(zip(first.names, first.leaves(), strict=True))
        self._function = settled(self._loaded, self._how, example)
        timing.run(self._function, self._pool(body), body["calls"], backward=body["backward"])
        return {}, []

    def _samples(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        pool, calls, direction = self._pool(body), body["calls"], body["direction"]
        host = timing.launch_seconds(self._function, pool[0], direction)
        ahead = _AHEAD * host + _AHEAD_SECONDS
        shown = timing.samples(self._function, pool, calls, direction, ahead)
        return {"milliseconds": [spent - self._events for spent in shown]}, []

    def _time(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        spent, _ = timing.run(
            self._function, self._pool(body), body["calls"], backward=body["backward"]
        )
        return {"milliseconds": spent}, []

    def _host(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        pool, calls = self._pool(body), body["calls"]
        found = timing.host_seconds(self._function, pool, calls, backward=body["backward"])
        return {"seconds": found}, []

    def _memory(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        return {"bytes": timing.peak_bytes(self._function, self._pool(body)[0])}, []

    def _results(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Outputs and gradients of one of the pool, the last rows of each."""
        call = self._pool(body)[body["which"]]
        leaves, outputs = call.outputs(self._function)
        gradients = call.gradients(leaves, outputs) if body["backward"] else {}
        results = [last_rows(t, body["last"]) for t in (*outputs, *gradients.values())]
        reply = {"outputs": len(outputs), "gradients": list(gradients)}
        return reply, [detached(t) for t in results]

    def _ceilings(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        return timing.ceilings(), []


def load(op: str, rival: Mapping[str, Any]) -> Callable[..., Any]:
    """What a rival of the op is. `how` is op, reference, a key of `_COMPILED` (the reference, which
    `settled` compiles), or call, with the function's place as `module:attribute`. It takes the op's
    tensors by name.
    """
    how = rival["how"]
    if how == "call":
        module, _, name = rival["call"].partition(":")
        function, arguments = getattr(import_module(module), name), rival["arguments"]
        return _in_order(function) if arguments is None else _rearranged(function, arguments)
    if how == "op":
        own: Callable[..., Any] = getattr(import_module(f"workbench_kernels.{op}.wrapper"), op)
        return own
    reference: Callable[..., Any] = import_module(f"workbench_kernels.{op}.spec").SPEC.reference
    return reference


def settled(
    function: Callable[..., Any], how: str, example: Mapping[str, Tensor | None]
) -> Callable[..., Any]:
    """What was loaded, ready for arguments like `example`."""
    if how not in _COMPILED:
        return function
    from workbench.worker.compiled import ATTEMPTS, compiled  # imports the compiler: seconds

    attempts = ATTEMPTS if torch.cuda.is_available() else 1
    return compiled(function, example, attempts, **_COMPILED[how])


def _in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of the op's tensors that calls `function` with them, one after another."""
    return lambda **tensors: function(*tensors.values())


def _rearranged(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of the op's tensors that calls `function` with them and constants where
    `arguments` says.
    """
    positional, keywords = arguments["positional"], arguments["keywords"]

    def call(**tensors: Tensor) -> Any:
        def value(one: Mapping[str, Any]) -> Any:
            return tensors[one["tensor"]] if "tensor" in one else one["value"]

        named = {name: value(one) for name, one in keywords.items()}
        return function(*map(value, positional), **named)

    return call
