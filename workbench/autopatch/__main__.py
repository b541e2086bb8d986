"""`python -m workbench.autopatch CHANNEL`, in a sandbox: tasks, one after the other.

CHANNEL is the descriptor of a socket. Each line that comes is a task as JSON; what goes back is a
line of JSON that says how many bytes of tensors follow, and those.
"""

from __future__ import annotations

import json
import socket
import sys
import warnings


def main(end: socket.socket) -> None:
    """Do what is asked for until nothing is."""
    from safetensors.torch import save

    import workbench.models.preloaded  # noqa: F401
    from workbench.autopatch.tasks import TASKS

    warnings.simplefilter("ignore")
    with end.makefile("rb") as asked:
        for line in asked:
            question = json.loads(line)
            try:
                said, tensors = TASKS[question.pop("task")](**question)
                tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
            except Exception as error:  # a model's own, most often
                said, tensors = {"error": f"{type(error).__name__}: {str(error)[:400]}"}, {}
            data = save(tensors) if tensors else b""
            end.sendall(json.dumps(said | {"bytes": len(data)}).encode() + b"\n" + data)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
