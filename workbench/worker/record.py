"""What a call of the op did: the kernels it launched, the torch ops it used, what it left behind.

Installed before the candidate is imported. Torch ops are seen inside registered ops too, where a
dispatch mode around the call would only see the op itself.
"""

from __future__ import annotations

import functools
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import triton
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction

# Keys under which an op differentiates, shapes or routes; under any other it computes.
_ASIDE = ("Autograd", "Autocast", "Meta", "ADInplaceOrView", "Functionalize", "FuncTorch", "Python")


class Recorder:
    """Records while `recording` is entered; `launching` False turns every launch into nothing."""

    def __init__(self) -> None:
        self.launches: Counter[tuple[str, str]] = Counter()
        self.ops: Counter[str] = Counter()
        self.launching = True
        self._active = False
        self._install_launches()
        self._install_ops()

    @contextmanager
    def recording(self, launching: bool = True) -> Iterator[None]:
        """Start anew, and record until the block ends."""
        self.launches, self.ops = Counter(), Counter()
        self.launching, self._active = launching, True
        try:
            with _Ops(self):
                yield
        finally:
            self.launching, self._active = True, False

    def facts(self) -> dict[str, Any]:
        """What was recorded, as data."""
        launches = [[name, file, count] for (name, file), count in self.launches.items()]
        return {"launches": launches, "ops": dict(self.ops)}

    def _install_launches(self) -> None:
        for kind in (JITFunction, InterpretedFunction):
            kind.run = self._launcher(kind.run)

    def _launcher(self, run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def launch(kernel: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._active or kwargs.get("warmup"):
                return run(kernel, *args, **kwargs)
            code = kernel.fn.__code__
            self.launches[kernel.__name__, Path(code.co_filename).name] += 1
            if not self.launching:
                return None
            args = tuple(map(self._watched, args))
            kwargs = {name: self._watched(value) for name, value in kwargs.items()}
            # The interpreter copies tensors; that's not the op's doing.
            with _disable_current_modes():  # type: ignore[no-untyped-call]
                return run(kernel, *args, **kwargs)

        return launch

    def _watched(self, given: Any) -> Any:
        """What a launch is given; a function (a grid's size may be one) records what it does."""
        # Kernels, constants and types of theirs can be called too, and compute nothing.
        theirs = type(given).__module__.startswith(("triton.", "torch"))
        return self._inside(given) if callable(given) and not theirs else given

    def _install_ops(self) -> None:
        impl: Any = torch.library.Library.impl

        @functools.wraps(impl)
        def record_inside(
            library: Any, name: Any, function: Any, key: str = "", **options: Any
        ) -> Any:
            if not key.startswith(_ASIDE) and callable(function):
                function = self._inside(function)
            return impl(library, name, function, key, **options)

        torch.library.Library.impl = record_inside  # type: ignore

    def _inside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            if not self._active:
                return function(*args, **kwargs)
            with _Ops(self):
                return function(*args, **kwargs)

        return recorded


class _Ops(TorchDispatchMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._recorder.ops[str(func)] += 1
        return func(*args, **(kwargs or {}))


def state() -> dict[str, Any]:
    """What a call must leave as it was: torch's global settings and random numbers, threads."""
    return {
        "threads": threading.active_count(),
        "system threads": _system_threads(),
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "number of threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "TF32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        "reduced precision": [
            torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        ],
        "autocast": [torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")],
        "flush of subnormals": torch.tensor(1e-39).add(0).item() == 0,
        "random numbers": zlib.crc32(torch.get_rng_state().numpy().tobytes()),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "function modes": torch._C._len_torch_function_stack(),
    }


def originals() -> dict[str, tuple[Any, dict[str, Any]]]:
    """What a candidate must not replace for others: PyTorch's and Triton's names, as they are."""
    owners = {
        "torch": torch,
        "torch.Tensor": torch.Tensor,
        "torch.autograd": torch.autograd,
        "torch.cuda": torch.cuda,
        "torch.cuda.Event": torch.cuda.Event,
        "torch.library": torch.library,
        "torch.nn.functional": torch.nn.functional,
        "torch.testing": torch.testing,
        "triton": triton,
        "triton.language": triton.language,
    }
    return {name: (owner, dict(vars(owner))) for name, owner in owners.items()}


def replaced(before: dict[str, tuple[Any, dict[str, Any]]]) -> list[str]:
    """Functions and classes that are no longer what they were."""
    return [
        f"{owner_name}.{name} is replaced"
        for owner_name, (owner, kept) in before.items()
        for name, value in kept.items()
        if callable(value) and vars(owner).get(name) is not value
    ]


def _system_threads() -> int:
    """Threads of this process that the kernel knows, Python's and others; not counted on a GPU,
    where drivers and autograd start their own.
    """
    if torch.cuda.is_available():
        return 1
    return len(list(Path("/proc/self/task").iterdir()))
