"""`python -m workbench.proposal CHANNEL`, in a sandbox: whether a text is a reference, and what of.

CHANNEL is the descriptor of a socket; the question and the answer are JSON.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any


def answer(text: str, op: str, origin: str) -> dict[str, Any]:
    """The reference's record and profile, or what is wrong with it."""
    from workbench import soundness
    from workbench.errors import WorkbenchError
    from workbench.profile import analyze
    from workbench.proposal import FILE
    from workbench.reference import parse

    try:
        # Twice: what is confirmed is the text that is kept, and so is what its record says.
        reference = parse(parse(text, op, FILE, origin).text, op, FILE, origin)
        soundness.check(reference)
        profile = analyze(reference, op)
    except WorkbenchError as error:
        return {"error": str(error) or type(error).__name__, "hint": error.hint}
    return {"record": reference.to_record(), "profile": profile.model_dump(mode="json")}


def main(end: socket.socket) -> None:
    """Read the question, answer it, and end."""
    import torch

    torch.set_num_threads(1)
    with end.makefile("rb") as file:
        question = json.loads(file.read())
    end.sendall(json.dumps(answer(**question)).encode())


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
