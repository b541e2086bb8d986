"""Asking for tasks in a sandbox, and reading what comes back as what nobody vouches for."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import workbench
from workbench.errors import ModelError, VerificationFailed
from workbench.layout import LIBRARY
from workbench.text import printable

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.judge.jail import Jail

_SECONDS = 300.0  # for one task
_MOST_LINE, _MOST_BYTES = 8 << 20, 256 << 20


class Bench:
    """A process in a sandbox that has the library below `root`, its recipes among it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.sandbox = ""

    def __enter__(self) -> Bench:
        import torch

        from workbench.judge import sandbox
        from workbench.judge.jail import Jail

        self._stack = ExitStack()
        self._end, theirs = socket.socketpair()
        self._stack.enter_context(self._end)
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="workbench-models-"))
        packages = [Path(workbench.__file__).resolve().parent, (self._root / LIBRARY).resolve()]
        for package in packages:  # these, and nothing beside them
            (Path(folder) / package.name).symlink_to(package)
        found = sandbox.find()
        self.sandbox = str(found)
        self._jail: Jail = self._stack.enter_context(
            Jail(
                "workbench.autopatch",
                [str(theirs.fileno())],
                sandbox=found,
                python_path=[Path(folder)],
                read=packages,
                environment={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                gpu=torch.cuda.is_available(),
                deadline=time.monotonic() + _SECONDS,
            )
        )
        theirs.close()
        self._answers: IO[bytes] = self._stack.enter_context(self._end.makefile("rb"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def ask(self, task: str, **question: Any) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
        """What a task gives.

        Raises:
            ModelError: the task can't be done with this model.
            VerificationFailed: the process ended.
        """
        from safetensors.torch import load

        try:
            self._jail.deadline = time.monotonic() + _SECONDS
            self._end.sendall(json.dumps({"task": task, **question}).encode() + b"\n")
            line = self._answers.readline(_MOST_LINE)
            said = json.loads(line)
            size = said.pop("bytes")
            if not 0 <= size <= _MOST_BYTES:
                raise ValueError(f"{size} bytes")
            data = self._answers.read(size)
            tensors = load(data) if data else {}
        except Exception as error:  # whatever is wrong with what came
            self._jail.wait(1.0)
            why = self._jail.ending or self._jail.last_words() or repr(error)
            raise VerificationFailed(
                f"the process that has the model gave no answer: {why}"
            ) from error
        if "error" in said:
            raise ModelError(printable(str(said["error"])))
        return said, tensors
