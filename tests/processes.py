"""Processes of one training, side by side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def spawn(function: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> None:
    """Call the function with its number and these arguments in each of so many new processes.

    Raises:
        ProcessRaisedException: it raised something there.
        ProcessExitedException: a process ended otherwise than well.
    """
    import torch.multiprocessing

    torch.multiprocessing.spawn(_run, (function, arguments), nprocs=processes)


def _run(number: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """The function, and the process ends. Python is not taken down with it: threads of gloo's can
    still hold tensors then, and to ask for Python's lock aborts (pytorch/pytorch#179291).
    """
    function(number, *arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
