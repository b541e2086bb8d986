"""The worker: imports the op and does what the judge asks, one request after another.

It holds tensors by handle, calls the op with them, and returns what came out. It knows no expected
value, no tolerance and no verdict, and the seeds of what it is given stay with the judge. Whatever
the op raises is an answer; whatever else it does to this process, the judge sees from outside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from inspect import Parameter
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from workbench.channel import Channel
from workbench.worker import timing
from workbench.worker.calls import Call, change, form, share_memory, twice, uninitialised_is_nan
from workbench.worker.holder import Holder, Reply, Request, detached, last_rows
from workbench.worker.record import Recorder, originals, replaced, state
from workbench_kernels.truth import without

# Bound before any candidate is imported: replacing it in its module changes nothing here.
_cpu = torch.Tensor.cpu

# What a caller may have switched on around a call.
_MODES: dict[str, Callable[[], Any]] = {
    "": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": partial(
        torch.autocast, "cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16
    ),
}


class Server(Holder):
    """One op, served over one channel until the judge closes it."""

    def __init__(self, channel: Channel, device: str) -> None:
        super().__init__(channel, device)
        self._recorder = Recorder()
        self._function: Callable[..., Any] | None = None
        self._module: type[Any] | None = None
        self._timed: list[list[Tensor]] = []
        self._inputs_changed: set[str] = set()
        self._state, self._originals = state(), originals()

    def _requests(self) -> Mapping[str, Request]:
        return {
            **super()._requests(),
            "load": self._load,
            "call": self._call,
            "interleave": self._interleave,
            "change": self._change,
            "twice": self._twice,
            "opcheck": self._opcheck,
            "time": self._time,
            "timed results": self._timed_results,
            "profile": self._profile,
        }

    def _besides(self) -> dict[str, Any]:
        return {"changed": self._changed()}

    def _changed(self) -> list[str]:
        """What of torch's global state or the process is not as it was before the op came."""
        now, before = state(), self._state.items()
        changed = [f"{key}: {was} -> {now[key]}" for key, was in before if was != now[key]]
        return changed + replaced(self._originals) + sorted(self._inputs_changed)

    def _load(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Import the op's wrapper."""
        op, package = body["op"], import_module("workbench_kernels")
        package.__path__[:] = body["path"]
        wrapper = import_module(f"workbench_kernels.{op}.wrapper")
        self._function = getattr(wrapper, op)
        self._module = getattr(wrapper, body["module"])
        return {}, []

    def _call(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Call the op: its outputs and gradients, and if asked the inputs as they are after."""
        call = self._prepare(body)
        poison = uninitialised_is_nan() if body["poison"] else nullcontext()
        mode = _MODES[body["mode"]]()
        plain = body["what"] == "function"  # a compiler stumbles over the recorder
        recording = self._recorder.recording(body["launching"]) if plain else nullcontext()
        with mode, poison, recording:
            function = self._callable(body["what"], call)
            leaves, outputs = call.outputs(function, inner=body["inner"])
            forward = self._recorder.launches.total()
            tensors = [y for y in outputs if isinstance(y, Tensor)]
            gradients = call.gradients(leaves, tensors) if body["backward"] else {}
        if plain:
            self._inputs_changed.update(call.changed(leaves))
        inputs = [t for t in self._own(body["inputs"]) if t is not None]
        results = [*tensors, *gradients.values()]
        last = body.get("last")
        reply = {
            "outputs": len(tensors),
            "gradients": list(gradients),
            "forms": [form(y) for y in outputs],
            "aliases": [any(share_memory(t, y) for t in inputs) for y in tensors],
            "forward launches": forward,
            **self._recorder.facts(),
        }
        if body.get("keep"):
            reply["kept"] = self._keep(results)
        values = [detached(last_rows(t, last)) for t in results]
        if body.get("inputs back"):
            values += [_cpu(t) for t in inputs]
        return reply, values

    def _interleave(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """The gradients of several calls, asked for twice when all of them have run forward: the
        second time counts.
        """
        assert self._function is not None
        calls = [self._prepare(call) for call in body["calls"]]
        forward = [call.outputs(self._function) for call in calls]
        pairs = [*zip(calls, forward, strict=True)]
        for call, ran in pairs:
            call.gradients(*ran, again=True)
        gradients = [call.gradients(*ran) for call, ran in pairs]
        names = [list(given) for given in gradients]
        return {"names": names}, [detached(g) for given in gradients for g in given.values()]

    def _change(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """The gradients where inputs or outputs are changed in place after the forward."""
        call = self._prepare(body)
        assert self._function is not None
        leaves, outputs = call.outputs(self._function)
        change(leaves if body["changed"] == "inputs" else outputs)
        gradients = call.gradients(leaves, outputs)
        return {"names": list(gradients)}, [detached(g) for g in gradients.values()]

    def _twice(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        call = self._prepare(body)
        assert self._function is not None
        return {}, [detached(t) for t in twice(*call.outputs(self._function))]

    def _opcheck(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """`torch.library.opcheck` on every op of its own that one forward and backward calls."""
        from workbench_kernels.testing import check_ops

        call = self._prepare(body)

        def forward_and_backward() -> None:
            assert self._function is not None
            call.gradients(*call.outputs(self._function))

        check_ops(body["op"], forward_and_backward, body["tests"])
        return {}, []

    def _time(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Many calls, unrecorded; the results stay here until some are asked for."""
        assert self._function is not None
        pool = self._pool(body)
        spent, self._timed = timing.run(
            self._function, pool, body["calls"], backward=body["backward"]
        )
        return {"milliseconds": spent}, []

    def _timed_results(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        return {}, [detached(t) for t in self._timed[body["which"]]]

    def _profile(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        assert self._function is not None
        pool = self._pool(body)
        return {"kernels": timing.kernels(self._function, pool, backward=body["backward"])}, []

    def _callable(self, what: str, call: Call) -> Callable[..., Any]:
        """The op as a function, compiled, or as a module, in training or in eval mode, that takes
        what the function takes.
        """
        assert self._function is not None and self._module is not None
        if what == "function":
            return self._function
        if what == "compiled":
            torch._dynamo.reset()
            function = self._function  # inside another, which shows if it keeps the compiler out
            return torch.compile(
                lambda **given: function(**given),
                fullgraph=True,
                backend="aot_eager",
            )
        instance = _module(self._module, self._function, call).to(self._device)
        instance.eval() if what == "module in eval mode" else instance.train()
        return _as_function(instance, call)


def _module(module: type[Any], function: Callable[..., Any], call: Call) -> Any:
    """The module with the call's parameters, which its constructor must take by their names; the
    others keep their defaults. Any other required argument is what the function takes for it unless
    told, or the width if that is nothing. A tensor that is left out and that a module may hold is
    False there, as in `LayerNorm(bias=False)`.
    """
    signature = inspect.signature(module).parameters
    wanted = signature.values()
    settings = without(call.names, call.parameters)
    settings |= {name: False for name in call.names if name in call.parameters.keys() & signature}
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    required = [p.name for p in wanted if p.default is p.empty and p.kind in named]
    usual = inspect.signature(function).parameters
    usually = {name: usual[name].default for name in required if name in usual}
    settings = {n: v for n, v in usually.items() if v not in (None, Parameter.empty)} | settings
    sizes = [name for name in required if name not in settings]
    width = call.inputs[0].shape[-1]
    # It may draw the values its parameters start from, but not find them in memory.
    with torch.random.fork_rng(range(torch.cuda.device_count())), uninitialised_is_nan():
        instance = module(**dict.fromkeys(sizes, width), **settings)
    _look_at(instance, call, width if len(sizes) == 1 else None)
    return instance


def _look_at(instance: Any, call: Call, width: int | None) -> None:
    """What a new module is: fit to print, with parameters that have values, learn, and fit."""
    repr(instance)
    wanted = dict(zip(call.names, call.inputs, strict=True))
    for name, parameter in instance.named_parameters():
        if not parameter.isfinite().all():
            raise ValueError(f"the module's parameter {name} is not given values when it is made")
        if name in call.needs and not parameter.requires_grad:
            raise ValueError(f"the module's parameter {name} wants no gradient: it never learns")
        like = wanted.get(name)
        if like is not None and like.shape == (width,) and parameter.shape != like.shape:
            sizes = f"{tuple(parameter.shape)}, the function takes {tuple(like.shape)}"
            raise ValueError(f"the module's parameter {name} is {sizes}")


def _as_function(instance: Any, call: Call) -> Callable[..., Any]:
    """The module called as the function is, by name: tensors that it has as parameters take their
    place, and those left out are not passed, as it may know nothing of them.
    """
    own = [name for name, _ in instance.named_parameters()]
    for name in own:
        if name not in call.names:
            raise TypeError(f"the module's parameter {name} is no tensor of the reference")

    def function(**given: Any) -> Any:
        others = (name for name in call.names if name not in own)
        passed = {name: given[name] for name in others if given[name] is not None}
        return functional_call(instance, {name: given[name] for name in own}, (), passed)

    return function
