"""`python -m probe FACTS`: try, from inside a sandbox, what it must not allow; print what it did.

FACTS and the answer are JSON. Each breach is one of `BREACHES`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

BREACHES = ("writes files", "reads files", "uses the network", "reads environments")


def breaches(facts: dict[str, Any]) -> list[str]:
    """What succeeds of writing and reading a foreign file, connecting, and reading /proc."""
    attempts: tuple[Callable[[dict[str, Any]], bool], ...] = (_writes, _reads, _connects, _spies)
    found = []
    for name, attempt in zip(BREACHES, attempts, strict=True):
        with contextlib.suppress(OSError):
            if attempt(facts):
                found.append(name)
    return found


def _writes(facts: dict[str, Any]) -> bool:
    with open(facts["canary"] + ".written", "w") as file:  # noqa: PTH123
        return file.write("x") == 1


def _reads(facts: dict[str, Any]) -> bool:
    with open(facts["canary"]) as file:  # noqa: PTH123
        return bool(file.read())


def _connects(facts: dict[str, Any]) -> bool:
    with socket.create_connection(("127.0.0.1", facts["port"]), timeout=1):
        return True


def _spies(facts: dict[str, Any]) -> bool:
    """Whether the environment of the process that asked is anywhere in /proc."""
    numbers = {str(facts["pid"]), *_listed("/proc")}
    return any(_digest(number) == facts["environment"] for number in numbers)


def _listed(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(folder) if name.isdigit()]  # noqa: PTH208
    return []


def _digest(number: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{number}/environ", "rb") as file:  # noqa: PTH123
        return hashlib.sha256(file.read()).hexdigest()
    return ""


if __name__ == "__main__":
    layers = [name for name in os.environ.get("WORKBENCH_LAYERS", "").split(",") if name]
    print(json.dumps({"breaches": breaches(json.loads(sys.argv[1])), "layers": layers}))
