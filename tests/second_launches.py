"""Which kernels of the library go to Triton more than once for the same call: a JSON object by op.

In a process of its own: kernels are made for a GPU, and what would run on it does nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)
from whole_library import find

from workbench_kernels import jit

launched: Counter[str] = Counter()  # by Triton
found: Counter[str] = Counter()  # without it


def by_triton(kernel: Any, *args: Any, grid: Any, warmup: bool, **constants: Any) -> Any:
    launched[kernel.__name__] += 1

    def run(*launch: Any) -> None:
        found[kernel.__name__] += 1

    return SimpleNamespace(run=run, function=None, packed_metadata=None)


def check(name: str) -> list[str]:
    """The kernels of one op that are launched by Triton again, or never without."""
    launched.clear()
    found.clear()
    op = find(name)
    inputs = op.draw()
    upstream = op.upstream(inputs)
    op.step(inputs, upstream)
    first = launched.copy()
    for _ in range(2):
        op.step(inputs, upstream)
    assert launched, f"{name} launched nothing"
    return sorted(one for one in launched if launched[one] > first[one] or not found[one])


def main() -> None:
    """Of the ops named."""
    for name in sys.argv[1:]:
        find(name)  # imports it
    os.environ["TRITON_INTERPRET"] = "1"  # from here on tensors on a CPU are served
    here = SimpleNamespace(get_current_device=lambda: 0, get_current_stream=lambda device: 0)
    jit._DRIVER = SimpleNamespace(active=here)
    jit._Kernel.run = by_triton  # type: ignore[method-assign]
    print(json.dumps({name: check(name) for name in sys.argv[1:]}))


if __name__ == "__main__":
    main()
