"""The other end of a process that holds tensors by handle: see `workbench.worker.holder`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from workbench_kernels.spec import OpSpec, Option


class Holding(ABC):
    """Whatever is asked raises `Ended` once the process is gone, and `Raised` what it raised."""

    @property
    @abstractmethod
    def spec(self) -> OpSpec:
        """The op's spec."""

    @abstractmethod
    def _ask(
        self, body: dict[str, Any], tensors: Sequence[Tensor] = ()
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """Send a request, and wait for its answer."""

    def put(
        self, tensors: Sequence[Tensor], times: Callable[[Tensor], int] = lambda t: 1
    ) -> list[int]:
        """Give it tensors, each `times` over along its first dimension; their handles."""
        reply, _ = self._ask({"do": "put", "repeat": [times(t) for t in tensors]}, tensors)
        return [int(handle) for handle in reply["handles"]]

    def put_upstream(
        self, upstream: Sequence[Tensor | None], times: Callable[[Tensor], int] = lambda t: 1
    ) -> list[int | None]:
        """Give it gradients to send back: a handle for each output, None where it has none."""
        handles = iter(self.put([dy for dy in upstream if dy is not None], times))
        return [None if dy is None else next(handles) for dy in upstream]

    def write(self, handles: Sequence[int], tensors: Sequence[Tensor]) -> None:
        """Other values in the memory of tensors it has."""
        self._ask({"do": "write", "handles": list(handles)}, tensors)

    def read(self, handles: Sequence[int]) -> list[Tensor]:
        """The values of tensors it has."""
        return self._ask({"do": "read", "handles": list(handles)})[1]

    def drop(self, handles: Sequence[int | None]) -> None:
        """Let it forget tensors."""
        self._ask({"do": "drop", "handles": [h for h in handles if h is not None]})

    def _arguments(
        self,
        handles: Sequence[int],
        needs: Sequence[str] | None = None,
        parameters: Mapping[str, Option] | None = None,
    ) -> dict[str, Any]:
        return {
            "names": self.spec.tensors,
            "inputs": list(handles),
            "needs": list(self.spec.differentiable if needs is None else needs),
            "parameters": dict(parameters or {}),
        }
