"""The judge's side of the worker host: a sandbox that forks a process per job."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.judge.jail import GIB, Jail, default_memory
from workbench.judge.remote import Ended
from workbench.judge.sandbox import Sandbox
from workbench.judge.stage import Stage

# How long a process may take to end once nobody talks to it any more.
_GRACE_SECONDS = 2.0
# All jobs together: each that uses a GPU holds a gigabyte of the driver's.
_ON_GPU = 24 * GIB


class Job:
    """One forked process: the socket to it, and how it ended."""

    def __init__(self, host: Host, pid: int, end: socket.socket) -> None:
        self._host, self._pid, self.end = host, pid, end
        self._code: int | None = None

    def ending(self) -> str:
        """How the process ended, or ends now that nobody talks to it."""
        code = self.stop(_GRACE_SECONDS)
        if self._host.jail.ending:
            return self._host.jail.ending
        if code == -signal.SIGABRT and (words := self._host.jail.last_words()):
            return f"{_say(code)} ({words})"  # who aborts says why
        return "is gone" if code is None else _say(code)

    def stop(self, patience: float = 0.0) -> int | None:
        """Wait for the end, kill what does not come to it; the exit code, None: unknown."""
        if self._code is None:
            self._code = self._host.end(self._pid, patience)
        return self._code


class Host:
    """The sandbox with the host in it. Leaving the context ends every process in it."""

    def __init__(self, stage: Stage, sandbox: Sandbox, device: str, deadline: float) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.jail = Jail(
            "workbench.worker",
            [str(theirs.fileno()), json.dumps({"device": device})],
            sandbox=sandbox,
            python_path=[stage.engine, stage.library],
            read=[stage.op, stage.suite, stage.variants],
            pass_fds=[theirs.fileno()],
            environment={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            fork=True,
            memory=default_memory(8 * GIB if device == "cpu" else _ON_GPU),
            gpu=device != "cpu",
            deadline=deadline,
        )
        self._theirs = theirs

    def __enter__(self) -> Host:
        self.jail.__enter__()
        self._theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self.jail.__exit__()

    def serve(self) -> Job:
        """A process for an op's server."""
        return self._start({"job": "serve"})

    def contend(self) -> Job:
        """A process for something that is timed."""
        return self._start({"job": "contend"})

    def suite(self, test: Path, path: Sequence[str], *, first_failure: bool) -> Job:
        """A process that runs a test file once, with the op found on `path`."""
        asked = {"test": str(test), "path": list(path), "first failure": first_failure}
        return self._start({"job": "suite", **asked})

    def end(self, pid: int, patience: float) -> int | None:
        """The exit code of a job, killed if it does not end in time; None if the host is gone."""
        try:
            code = self._ask({"do": "end", "pid": pid, "patience": patience})["code"]
        except Ended:
            return None
        return int(code)

    def _start(self, request: dict[str, Any]) -> Job:
        ours, theirs = socket.socketpair()
        with theirs:
            reply = self._ask({"do": "start", **request}, theirs)
        return Job(self, int(reply["pid"]), ours)

    def _ask(self, request: dict[str, Any], given: socket.socket | None = None) -> dict[str, Any]:
        """One packet there, one back.

        Raises:
            Ended: the host is gone.
        """
        descriptors = [] if given is None else [given.fileno()]
        with self._lock:
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
                packet = self._control.recv(1 << 16)
            except OSError:
                packet = b""
        if not packet:
            self.jail.wait(_GRACE_SECONDS)
            raise Ended(self.jail.ending or f"the host is gone: {self.jail.last_words()}")
        answer: dict[str, Any] = json.loads(packet)
        return answer


def _say(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
