"""Which ops of the library run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

LIBRARY = "workbench_kernels"


class Launches(TorchDispatchMode):
    """Counts the library's ops, and the forward ones by the watched module that they ran in: what
    is patched and never runs shows.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: Counter[str] = Counter()
        self.within: Counter[str] = Counter()
        self._inside: list[str] = []

    def watch(self, model: nn.Module, paths: Sequence[str]) -> None:
        """Count from here on, and apart what runs in these modules."""
        self.ops.clear()

        def enter(path: str) -> Callable[..., None]:
            return lambda module, given: self._inside.append(path)

        def leave(module: nn.Module, given: Any, got: Any) -> None:
            self._inside.pop()

        for path in dict.fromkeys(paths):
            module = model.get_submodule(path)
            module.register_forward_pre_hook(enter(path))
            module.register_forward_hook(leave)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == LIBRARY:
            self.ops[func.overloadpacket.__name__] += 1
            self.within.update(self._inside[-1:])
        return func(*args, **(kwargs or {}))
