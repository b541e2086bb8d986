"""Messages between the judge and the processes that work for it: JSON and tensors over a socket.

    8 bytes: sizes of the head and of all tensors' bytes | the head, JSON | the bytes of the tensors

A tensor travels as its storage with sizes, strides and offset, so that its layout arrives too.
Nothing is ever unpickled: what comes from a worker may be anything, and is checked like input.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.text import printable

_SIZES = struct.Struct("!IQ")
_MOST_HEAD = 16 << 20


def dtype_name(dtype: torch.dtype) -> str:
    """The dtype as it travels, and as people say it: `float32`."""
    return str(dtype).removeprefix("torch.")


_DTYPES = {
    dtype_name(dtype): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip


class ChannelError(Exception):
    """What came is no message, or is larger than it may be."""


class ChannelClosed(ChannelError):
    """The other side is gone, or closed its end."""


class Channel:
    """One end of a stream socket, which it owns."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, body: dict[str, Any], tensors: Sequence[Tensor] = ()) -> None:
        """Send one message.

        Raises:
            ChannelClosed: nobody is there to receive it.
        """
        forms, storages = [], []
        for t in tensors:
            forms.append(
                {
                    "dtype": dtype_name(t.dtype),
                    "size": list(t.shape),
                    "stride": list(t.stride()),
                    "offset": t.storage_offset(),
                    "bytes": t.untyped_storage().nbytes(),
                }
            )
            storages.append(_storage_bytes(t))
        head = json.dumps({"body": body, "tensors": forms}).encode()
        try:
            self._socket.settimeout(None)
            self._socket.sendall(_SIZES.pack(len(head), sum(map(len, storages))) + head)
            for data in storages:
                self._socket.sendall(data)
        except OSError as error:
            raise ChannelClosed(f"the other side is gone ({error})") from error

    def receive(
        self, *, deadline: float | None = None, most: int = 1 << 40
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """The next message; `deadline` is a time of `time.monotonic`, `most` limits its bytes.

        Raises:
            ChannelClosed: the other side is gone.
            ChannelError: it sent something else than a message.
            TimeoutError: nothing complete came in time.
        """
        head_size, tensor_bytes = _SIZES.unpack(self._read(_SIZES.size, deadline))
        if head_size > _MOST_HEAD or tensor_bytes > most:
            raise ChannelError(f"a message of {head_size + tensor_bytes} bytes is too long")
        head = self._read(head_size, deadline)
        data = memoryview(self._read(tensor_bytes, deadline))
        try:
            message = json.loads(head)
            body, tensors = _printable(message["body"]), []
            for form in message["tensors"]:
                tensors.append(_tensor(form, data[: form["bytes"]]))
                data = data[form["bytes"] :]
        except (ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
            raise ChannelError(f"no message: {type(error).__name__}") from error
        if not isinstance(body, dict) or data:
            raise ChannelError("no message")
        return body, tensors

    def _read(self, size: int, deadline: float | None) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            try:
                count = self._socket.recv_into(view)
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosed(f"the other side is gone ({error})") from error
            if not count:
                raise ChannelClosed("the other side is gone")
            view = view[count:]
        return data

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end; whoever waits at the other is told."""
        self._socket.close()


def described(error: BaseException) -> dict[str, Any]:
    """An exception as it travels: the names of its class and its bases, and what it says."""
    try:
        message = " ".join(str(error).split())[:500]
    except BaseException:  # its text is made by whoever raised it
        message = ""
    return {"kinds": [kind.__name__ for kind in type(error).__mro__], "message": message}


def _printable(value: Any) -> Any:
    """What came, with every text in it fit to print: it ends up in reports."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return value


def _storage_bytes(t: Tensor) -> memoryview:
    storage = t.detach().untyped_storage().cpu()  # type: ignore[no-untyped-call]
    flat = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
    return memoryview(flat.numpy())  # type: ignore[arg-type]


def _tensor(form: dict[str, Any], data: memoryview) -> Tensor:
    """The tensor that lies in `data` as `form` says; anything out of bounds is an error."""
    dtype = _DTYPES[form["dtype"]]
    size, stride, offset = form["size"], form["stride"], form["offset"]
    if len(size) != len(stride) or min([*size, *stride, offset], default=0) < 0:
        raise ValueError
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if math.prod(size) and (last + 1) * dtype.itemsize > len(data):
        raise ValueError
    if len(data) != form["bytes"]:
        raise ValueError
    flat = torch.empty(len(data) // dtype.itemsize, dtype=dtype)
    flat.view(torch.uint8).numpy()[:] = data[: flat.nbytes]
    return flat.as_strided(size, stride, offset)
