"""`python -m workbench.worker.profiled SETTINGS`: one direction of an op, once, for a profiler.

What launches it counts what runs between two marks: one call at the size asked for, when a few
calls before have compiled and tuned what they will. SETTINGS is JSON. The op's spec is loaded here
too, beside its kernels, to draw the inputs: nothing that is computed here is believed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

from workbench.worker import guard

WARM_UP = 3


def main(settings: dict[str, Any]) -> None:
    """Call the op. What imports it is imported late, when this process is confined."""
    guard.confine(fork=True)  # Triton starts a compiler
    import torch

    import workbench_kernels
    from workbench.worker.calls import Call
    from workbench.worker.contender import load
    from workbench_kernels.testing import draw

    op, direction = settings["op"], settings["direction"]
    workbench_kernels.__path__[:] = settings["path"]
    function = load(op, {"how": "op"})
    spec = import_module(f"workbench_kernels.{op}.spec").SPEC
    inputs = draw(spec, settings["rows"], settings["cols"], getattr(torch, settings["dtype"]))
    call = Call(
        names=spec.tensors,
        inputs=inputs,
        needs=spec.differentiable,
        upstream=(),
        parameters=spec.parameters,
    )
    _, outputs = call.outputs(function)
    sent = [torch.randn_like(y) if y.requires_grad else None for y in outputs]
    call = replace(call, upstream=sent)
    for _ in range(WARM_UP):
        call.gradients(*call.outputs(function))
    ran = call.outputs(function)
    torch.cuda.synchronize()
    torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
    if direction == "forward":
        call.outputs(function)
    else:
        call.gradients(*ran)
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
