"""The judge's side of the referee: an op's spec as data, its inputs, and what they must lead to."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workbench.channel import Channel, dtype_name
from workbench.judge.jail import Jail
from workbench.judge.remote import Raised, Remote, check_raised
from workbench.judge.sandbox import Sandbox
from workbench.judge.stage import Stage
from workbench.judge.trial import Skip
from workbench_kernels.spec import OpSpec, Option, Traffic
from workbench_kernels.truth import Expected

# An answer of the referee may weigh more than a worker's: it draws inputs as large as are timed.
_MOST_BYTES = 16 << 30
# What a reference raises for inputs it was not made for.
_UNSERVED = {"RuntimeError", "ValueError", "IndexError", "TypeError", "AssertionError"}


class RefereeProcess:
    """The sandbox with the referee in it; entering gives the remote to ask."""

    def __init__(self, stage: Stage, sandbox: Sandbox, device: str, deadline: float) -> None:
        self._ours, self._theirs = socket.socketpair()
        settings = {"op": stage.name, "folder": str(stage.spec), "device": device}
        self._deadline = deadline
        self._jail = Jail(
            "workbench.referee",
            [str(self._theirs.fileno()), json.dumps(settings)],
            sandbox=sandbox,
            python_path=[stage.engine, stage.trusted],
            read=[stage.spec],
            pass_fds=[self._theirs.fileno()],
            gpu=device != "cpu",
            deadline=deadline,
        )

    def __enter__(self) -> Remote:
        self._jail.__enter__()
        self._theirs.close()
        return Remote(Channel(self._ours), self._deadline, self._how, most=_MOST_BYTES)

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._jail.__exit__()

    def _how(self) -> str:
        self._jail.wait(2.0)
        words = self._jail.last_words()
        return self._jail.ending or f"exited early: {words}".rstrip(": ")


class Referee:
    """One op's spec, in a process of its own. The judge draws the seeds and keeps the answers; with
    `remembers`, what is expected of inputs is found once, however many ask.
    """

    def __init__(self, remote: Remote, *, remembers: bool = False) -> None:
        self._remote = remote
        self._known: dict[str, Expected] | None = {} if remembers else None
        check_raised(remote.receive())  # it says whether it could load the spec
        described = self._ask({"do": "describe"})[0]
        self.spec = _spec(described)
        self.not_varied = [str(name) for name in described["not varied"]]

    def draw(self, rows: int, cols: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, ...]:
        """The reference's inputs for one size, floating ones rounded to `dtype`.

        Raises:
            Skip: the spec has no inputs of this size.
        """
        asked = {"do": "draw", "rows": rows, "cols": cols, "dtype": dtype_name(dtype), "seed": seed}
        try:
            return tuple(self._ask(asked)[1])
        except Raised as error:
            raise Skip(f"the spec has no inputs of this size ({error})") from error

    def expect(
        self,
        inputs: Sequence[Tensor],
        *,
        parameters: Mapping[str, Option] | None = None,
        needs: Sequence[str] | None = None,
        seed: int = 0,
        layout: str = "",
        only: int | None = None,
        device: str = "",
    ) -> Expected:
        """What the op must give, and the gradients to send back, laid out as `layout` says; with
        `only`, for that output alone; with `device`, as the reference gives it there.

        Raises:
            Skip: the reference itself does not take these inputs.
        """
        asked = {
            "do": "expect",
            "parameters": dict(parameters or {}),
            "needs": None if needs is None else list(needs),
            "seed": seed,
            "layout": layout,
            "only": only,
            "device": device,
        }
        key = _key(asked, inputs) if self._known is not None else ""
        if self._known is not None and key in self._known:
            return self._known[key]
        expected = self._expect(asked, inputs)
        if self._known is not None:
            self._known[key] = expected
        return expected

    def _expect(self, asked: dict[str, Any], inputs: Sequence[Tensor]) -> Expected:
        try:
            reply, values = self._ask(asked, inputs)
        except Raised as error:
            if not _UNSERVED.intersection(error.kinds):
                raise
            raise Skip(f"the reference refuses it ({error.kinds[0]})") from error
        names = reply["names"]
        eager, truth = (dict(zip(names, values[i:], strict=False)) for i in (0, len(names)))
        sent = iter(values[2 * len(names) :])
        upstream = tuple(next(sent) if there else None for there in reply["upstream"])
        worst = partial(self._worst, reply["number"], asked, inputs)
        return Expected(eager, truth, upstream, worst)

    def forms(self, inputs: Sequence[Tensor], needs: Sequence[str]) -> list[str]:
        """What the reference's outputs are besides their values."""
        return list(self._ask({"do": "forms", "needs": list(needs)}, inputs)[0]["forms"])

    def twice(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The derivatives of the gradients as PyTorch computes them, and as they truly are."""
        values = self._ask({"do": "twice"}, inputs)[1]
        half = len(values) // 2
        return values[:half], values[half:]

    def _worst(
        self, number: int, asked: dict[str, Any], inputs: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        try:
            reply, values = self._ask({"do": "worst", "number": number})
        except Raised as error:
            if "KeyError" not in error.kinds:
                raise
            number = self._ask(asked, inputs)[0]["number"]  # it was forgotten there since
            reply, values = self._ask({"do": "worst", "number": number})
        return dict(zip(reply["names"], values, strict=True))

    def _ask(
        self, body: dict[str, Any], tensors: Sequence[Tensor] = ()
    ) -> tuple[dict[str, Any], list[Tensor]]:
        reply, values = self._remote.ask(body, tensors)
        check_raised(reply)
        return reply, values


def _key(asked: dict[str, Any], inputs: Sequence[Tensor]) -> str:
    """A digest of a question: the inputs' values and how they lie, and everything else asked."""
    digest = hashlib.sha256(json.dumps(asked).encode())
    for t in inputs:
        digest.update(f"{t.dtype} {tuple(t.shape)} {t.stride()}".encode())
        digest.update(t.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _spec(described: dict[str, Any]) -> OpSpec:
    """The spec without its code: neither its reference nor its inputs can be called here."""
    return OpSpec(
        name=described["name"],
        tier=described["tier"],
        reference=_elsewhere,
        inputs=_elsewhere,
        tensors=tuple(described["tensors"]),
        differentiable=tuple(described["differentiable"]),
        mutates=tuple(described["mutates"]),
        parameters=dict(described["parameters"]),
        variants={str(name): dict(settings) for name, settings in described["variants"].items()},
        products=described["products"],
        forward=_traffic(*described["forward"]),
        backward=_traffic(*described["backward"]),
        shapes=tuple((rows, cols) for rows, cols in described["shapes"]),
        sweep=tuple((rows, cols) for rows, cols in described["sweep"]),
        dtypes=tuple(getattr(torch, name) for name in described["dtypes"]),
    )


def _traffic(reads: float, writes: float, flops: float) -> Traffic:
    return Traffic(reads=reads, writes=writes, flops=flops)


def _elsewhere(*_: Any, **__: Any) -> Any:
    raise AssertionError("the reference runs in the referee's process")
