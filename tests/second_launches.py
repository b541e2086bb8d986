"""Which kernels of the library go to Triton more than once for the same call: a JSON object by op.

In a process of its own: kernels are made for a GPU, and what would run on it does nothing.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections import Counter
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch

os.environ.pop("TRITON_INTERPRET", None)
from workbench_kernels import functional, jit
from workbench_kernels.truth import without

launched: Counter[str] = Counter()  # by Triton
found: Counter[str] = Counter()  # without it


def by_triton(kernel: Any, *args: Any, grid: Any, warmup: bool, **constants: Any) -> Any:
    launched[kernel.__name__] += 1

    def run(*launch: Any) -> None:
        found[kernel.__name__] += 1

    return SimpleNamespace(run=run, function=None, packed_metadata=None)


def check(op: str) -> list[str]:
    """The kernels of one op that are launched by Triton again, or never without."""
    launched.clear()
    found.clear()
    spec = import_module(f"workbench_kernels.{op}.spec").SPEC
    drawn = dict(zip(spec.tensors, spec.inputs(4, 64), strict=True))
    function = getattr(functional, op)
    settings = without(spec.tensors, spec.parameters)
    if "compact" in inspect.signature(function).parameters:
        settings["compact"] = False  # no kernel counts the rows that are left
    first: Counter[str] = Counter()
    for turn in range(3):
        for name in spec.differentiable:
            drawn[name] = drawn[name].detach().clone().requires_grad_()
        outputs = function(**drawn, **settings)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        outputs = [output for output in outputs if output.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
        if turn == 0:
            first = launched.copy()
    assert launched, f"{op} launched nothing"
    return sorted(name for name in launched if launched[name] > first[name] or not found[name])


def main() -> None:
    """Of the ops named."""
    for op in sys.argv[1:]:
        import_module(f"workbench_kernels.{op}.wrapper")
    os.environ["TRITON_INTERPRET"] = "1"  # from here on tensors on a CPU are served
    here = SimpleNamespace(get_current_device=lambda: 0, get_current_stream=lambda device: 0)
    jit._DRIVER = SimpleNamespace(active=here)
    jit._Kernel.run = by_triton  # type: ignore[method-assign]
    print(json.dumps({op: check(op) for op in sys.argv[1:]}))


if __name__ == "__main__":
    main()
