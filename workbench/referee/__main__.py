"""`python -m workbench.referee CHANNEL SETTINGS`: answer what the judge asks of an op's spec.

CHANNEL is the descriptor of a socket, SETTINGS is JSON: the op, the folder that holds its spec, and
the device.
"""

from __future__ import annotations

import inspect
import itertools
import json
import math
import socket
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from workbench.channel import Channel, ChannelClosed, described, dtype_name
from workbench.worker.calls import form, twice
from workbench_kernels.spec import OpSpec
from workbench_kernels.testing import BATCHES, LAYOUTS, draw
from workbench_kernels.truth import Expected, call, expect

# How many of the latest answers can still be asked about: several threads of the judge ask in turn.
_KEPT = 32

Reply = tuple[dict[str, Any], list[Tensor]]


class Referee:
    """One spec, asked over one channel until the judge closes it."""

    def __init__(self, channel: Channel, spec: OpSpec, device: str) -> None:
        self._channel = channel
        self._spec = spec
        self._device = torch.device(device)
        self._expected: dict[int, Expected] = {}
        self._numbers = itertools.count()

    def serve(self) -> None:
        """Answer every request; one that raises is answered with what it raised."""
        requests: dict[str, Callable[[dict[str, Any], Sequence[Tensor]], Reply]] = {
            "describe": self._describe,
            "draw": self._draw,
            "expect": self._expect,
            "worst": self._worst,
            "forms": self._forms,
            "twice": self._twice,
        }
        while True:
            try:
                body, tensors = self._channel.receive()
            except ChannelClosed:
                return
            try:
                device = torch.device(body.get("device") or self._device)
                reply, values = self._with_room(requests[body["do"]], body, tensors, device)
            except Exception as error:
                reply, values = {"raised": described(error)}, []
            self._channel.send(reply, [t.detach().cpu() for t in values])

    def _with_room(
        self,
        answer: Callable[[dict[str, Any], Sequence[Tensor]], Reply],
        body: dict[str, Any],
        tensors: Sequence[Tensor],
        device: torch.device,
    ) -> Reply:
        """The answer, if need be in the memory that old ones take: who still asks about one of
        those asks anew.
        """
        try:
            return answer(body, [t.to(device) for t in tensors])
        except torch.OutOfMemoryError:
            pass  # and gone, with all that its frames hold
        self._expected.clear()
        torch.cuda.empty_cache()
        return answer(body, [t.to(device) for t in tensors])

    def _describe(self, body: dict[str, Any], tensors: Sequence[Tensor]) -> Reply:
        spec = self._spec
        return {
            "name": spec.name,
            "tier": spec.tier,
            "tensors": spec.tensors,
            "differentiable": spec.differentiable,
            "mutates": spec.mutates,
            "parameters": dict(spec.parameters),
            "variants": {name: dict(settings) for name, settings in spec.variants.items()},
            "not varied": _not_varied(spec),
            "products": spec.products,
            "forward": [spec.forward.reads, spec.forward.writes, spec.forward.flops],
            "backward": [spec.backward.reads, spec.backward.writes, spec.backward.flops],
            "shapes": spec.shapes,
            "sweep": spec.sweep,
            "dtypes": [dtype_name(dtype) for dtype in spec.dtypes],
        }, []

    def _draw(self, body: dict[str, Any], tensors: Sequence[Tensor]) -> Reply:
        dtype = getattr(torch, body["dtype"])
        return {}, list(draw(self._spec, body["rows"], body["cols"], dtype, body["seed"]))

    def _expect(self, body: dict[str, Any], tensors: Sequence[Tensor]) -> Reply:
        """Eager's values and the true ones, and the gradients to send back."""
        layout = _LAYOUTS[body["layout"]] if body["layout"] else None
        expected = expect(
            self._spec,
            tensors,
            parameters=body["parameters"],
            needs=body["needs"],
            seed=body["seed"],
            layout=layout,
            only=body["only"],
        )
        number = next(self._numbers)
        self._expected[number] = expected
        self._expected.pop(number - _KEPT, None)
        sent = [dy for dy in expected.upstream if dy is not None]
        reply = {
            "number": number,
            "names": list(expected.eager),
            "upstream": [dy is not None for dy in expected.upstream],
        }
        return reply, [*expected.eager.values(), *expected.truth.values(), *sent]

    def _worst(self, body: dict[str, Any], tensors: Sequence[Tensor]) -> Reply:
        worst = self._expected[body["number"]].worst_error
        return {"names": list(worst)}, list(worst.values())

    def _forms(self, body: dict[str, Any], tensors: Sequence[Tensor]) -> Reply:
        _, outputs = call(self._spec, self._spec.reference, tensors, needs=body["needs"])
        return {"forms": [form(y) for y in outputs]}, []

    def _twice(self, body: dict[str, Any], tensors: Sequence[Tensor]) -> Reply:
        doubles = [t.double() if t.is_floating_point() else t for t in tensors]
        reference = self._spec.reference
        eager, truth = (twice(*call(self._spec, reference, x)) for x in (tensors, doubles))
        return {}, [*eager, *truth]


def _not_varied(spec: OpSpec) -> list[str]:
    """What the reference takes and is never another than by default: a number or a flag that is in
    no setting, a tensor that need not be there and always is.
    """
    taken = inspect.signature(spec.reference).parameters.values()
    return [p.name for p in taken if p.default is not p.empty and not _varies(spec, p)]


def _varies(spec: OpSpec, parameter: inspect.Parameter) -> bool:
    name, settings = parameter.name, spec.variants.values()
    if name in spec.tensors:
        return any(name in setting for setting in settings)
    others = (setting.get(name, parameter.default) for setting in settings)
    return name in spec.parameters or any(value != parameter.default for value in others)


def _one_value(gradient: Tensor) -> Tensor:
    """One element seen everywhere with stride 0, what `y.sum().backward()` sends back."""
    return gradient.reshape(-1)[:1].expand(gradient.numel()).view(gradient.shape)


def _large(gradient: Tensor) -> Tensor:
    """What a loss that is scaled up sends back; float16 just holds it."""
    return gradient * 1e4


def _small(gradient: Tensor) -> Tensor:
    return gradient * 1e-4


def _nan(gradient: Tensor) -> Tensor:
    return torch.full_like(gradient, math.nan)


_LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    **LAYOUTS,
    **BATCHES,
    "one value everywhere": _one_value,
    "large": _large,
    "small": _small,
    "nan": _nan,
}


def _load(op: str, folder: str) -> OpSpec:
    package = import_module("workbench_kernels")
    package.__path__.append(folder)
    spec = import_module(f"workbench_kernels.{op}.spec").SPEC
    if not isinstance(spec, OpSpec):
        raise TypeError("SPEC is no OpSpec")
    return spec


def main(channel: Channel, settings: dict[str, Any]) -> None:
    """Load the spec, then answer."""
    torch.set_num_threads(1)
    try:
        spec = _load(settings["op"], settings["folder"])
    except BaseException as error:  # a spec is code, and may raise anything
        channel.send({"raised": described(error)})
        return
    channel.send({"ready": True})
    Referee(channel, spec, settings["device"]).serve()


if __name__ == "__main__":
    main(Channel(socket.socket(fileno=int(sys.argv[1]))), json.loads(sys.argv[2]))
