"""A process that holds tensors by handle and answers one request after another.

Whatever is raised while a request is answered is an answer; whatever else happens to this process,
whoever asks sees from outside.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.channel import Channel, ChannelClosed, described
from workbench.worker.calls import Call

# Bound before any candidate is imported: replacing them in their modules changes nothing here.
_contiguous = torch.Tensor.contiguous
_clone = torch.Tensor.clone
_detach = torch.Tensor.detach
_cpu = torch.Tensor.cpu

# What a process may keep of a GPU's memory that it does not use.
_MUCH_BYTES = 1 << 30

Reply = tuple[dict[str, Any], list[Tensor]]
Request = Callable[[dict[str, Any], list[Tensor]], Reply]


class Holder:
    """Tensors on `device`, served over one channel until the other end closes it."""

    def __init__(self, channel: Channel, device: str) -> None:
        self._channel = channel
        self._device = torch.device(device)
        self._tensors: dict[int, Tensor] = {}
        self._numbers = itertools.count()
        torch.empty(1, device=self._device)  # while nobody waits: a GPU takes its time
        self._leaves: dict[tuple[int, bool, bool], Tensor] = {}

    def serve(self) -> None:
        """Answer every request; one that raises is answered with what it raised."""
        requests = self._requests()
        while True:
            try:
                body, tensors = self._channel.receive()
            except ChannelClosed:
                return
            try:
                reply, values = requests[body["do"]](body, tensors)
            except BaseException as error:  # a candidate may raise anything, SystemExit included
                reply, values = {"raised": described(error)}, []
            self._channel.send({**reply, **self._besides()}, values)

    def _requests(self) -> Mapping[str, Request]:
        """What can be asked, by name."""
        return {"put": self._put, "write": self._write, "read": self._read, "drop": self._drop}

    def _besides(self) -> dict[str, Any]:
        """What is said with every answer."""
        return {}

    def _put(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Keep tensors; `repeat` says how often each is repeated along its first dimension."""
        handles = []
        for t, times in zip(tensors, body["repeat"], strict=True):
            placed = self._place(t)
            if times > 1:
                placed = placed.repeat(times, *[1] * (t.ndim - 1))
            handle = next(self._numbers)
            self._tensors[handle] = placed
            handles.append(handle)
        return {"handles": handles}, []

    def _write(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        """Other values in the same memory, which autograd's version counter does not tell."""
        for handle, t in zip(body["handles"], tensors, strict=True):
            self._tensors[handle].data.copy_(t)
        return {}, []

    def _read(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        return {}, [detached(self._tensors[handle]) for handle in body["handles"]]

    def _drop(self, body: dict[str, Any], tensors: list[Tensor]) -> Reply:
        for handle in body["handles"]:
            gone = id(self._tensors.pop(handle))
            self._leaves = {key: t for key, t in self._leaves.items() if key[0] != gone}
        self._give_back()
        return {}, []

    def _give_back(self) -> None:
        """Memory that is free here, if it is much: others work on this GPU too."""
        if self._device.type != "cuda":
            return
        if torch.cuda.memory_reserved() - torch.cuda.memory_allocated() > _MUCH_BYTES:
            torch.cuda.empty_cache()

    def _prepare(self, body: dict[str, Any]) -> Call:
        return Call(
            names=body["names"],
            inputs=[t for t in self._own(body["inputs"]) if t is not None],
            needs=body["needs"],
            upstream=self._own(body["upstream"]),
            parameters=body["parameters"],
            kept=self._leaves,
        )

    def _pool(self, body: dict[str, Any]) -> list[Call]:
        return [self._prepare(call) for call in body["pool"]]

    def _own(self, handles: Sequence[int | None]) -> list[Tensor | None]:
        return [None if handle is None else self._tensors[handle] for handle in handles]

    def _keep(self, results: Sequence[Tensor]) -> list[int]:
        handles = [next(self._numbers) for _ in results]
        self._tensors |= dict(zip(handles, results, strict=True))
        return handles

    def _place(self, t: Tensor) -> Tensor:
        """The tensor on the op's device, laid out as it came."""
        if self._device.type == "cpu":
            return t
        storage = t.untyped_storage().to(device=self._device)
        placed = torch.empty(0, dtype=t.dtype, device=self._device)
        return placed.set_(storage, t.storage_offset(), t.shape, t.stride())


def last_rows(t: Tensor, rows: int | None) -> Tensor:
    """So many rows of a tensor that has rows; None: all."""
    return t[-rows:] if t.ndim and rows is not None else t


def detached(t: Tensor) -> Tensor:
    """The values alone, in memory of their own."""
    return _cpu(_clone(_contiguous(_detach(t))))
