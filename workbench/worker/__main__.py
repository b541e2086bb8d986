"""`python -m workbench.worker CONTROL SETTINGS`: the worker host.

It imports what every job needs, once, and forks a child per job: the op's server, a run of the op's
tests, a run per mutant, something to time. It runs no line of a candidate itself. CONTROL is the
descriptor of a packet socket to the judge; SETTINGS is JSON. A packet is answered by one:

    {"do": "start", "job": "serve" | "contend" | "suite", ...} and the job's socket  ->  {"pid": N}
    {"do": "end", "pid": N, "patience": seconds}                                     ->  {"code": N}
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
from typing import Any

from workbench.worker import guard

_PACKET = 1 << 16


def main(control: socket.socket, settings: dict[str, Any]) -> None:
    """Warm up, then answer requests until the judge closes the control socket."""
    warm_up(interpreted=settings["device"] == "cpu")
    gc.freeze()  # what is shared by all jobs stays shared
    while True:
        packet, descriptors, _, _ = socket.recv_fds(control, _PACKET, 1)
        if not packet:
            return
        request = json.loads(packet)
        if request["do"] == "start":
            reply = {"pid": _start(request, descriptors[0], control, settings)}
        else:
            reply = {"code": _end(request["pid"], request["patience"])}
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(json.dumps(reply).encode())


def warm_up(interpreted: bool) -> None:
    """Import what jobs need, as long as nothing of it touches a GPU: a fork can't share one."""
    if interpreted:
        os.environ["TRITON_INTERPRET"] = "1"
    import pytest  # noqa: F401
    import torch
    import triton  # noqa: F401

    torch.set_num_threads(1)
    if interpreted:
        from workbench.interpreter import enable

        enable()
    import torch._dynamo
    import torch.testing._internal.optests

    with contextlib.suppress(ImportError):
        import tqdm  # type: ignore[import-untyped]

        tqdm.tqdm.monitor_interval = 0  # PyTorch's progress bars would start a thread

    import workbench_kernels.testing  # noqa: F401

    if interpreted:
        _use_first()


def _use_first() -> None:
    """What PyTorch leaves to its first use, and would take each job half of its time: what divides
    a graph into forward and backward, and the table of steps that a truth is taken apart by.
    """
    import torch._inductor.pattern_matcher  # noqa: F401

    from workbench_kernels import truth

    len(truth._steps())  # filled when it is first asked


def _start(
    request: dict[str, Any], descriptor: int, control: socket.socket, settings: dict[str, Any]
) -> int:
    """Fork the job's process; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        control.close()
        channel = socket.socket(fileno=os.dup(descriptor))
        os.close(descriptor)
        guard.confine(fork=settings["device"] != "cpu")  # on a GPU, Triton starts a compiler
        _renew_threads()
        _work(request, channel, settings)
        code = 0
    finally:
        os._exit(code)  # no clean-up of the host's, no exit handler of a candidate's


def _renew_threads() -> None:
    """PyTorch replaces its pool of threads, which a fork does not copy, at its first use, and two
    threads at once find none there: as many as autograd starts do, and that ends the process.
    """
    import torch

    torch.set_num_threads(1)


def _work(request: dict[str, Any], end: socket.socket, settings: dict[str, Any]) -> None:
    from workbench.channel import Channel

    channel = Channel(end)
    if request["job"] == "serve":
        from workbench.worker.serve import Server

        _forget_pytest()
        Server(channel, settings["device"]).serve()
        return
    if request["job"] == "contend":
        from workbench.worker.contender import Contender

        _forget_pytest()
        Contender(channel, settings["device"]).serve()
        return
    import workbench_kernels
    from workbench.worker import suite

    workbench_kernels.__path__[:] = request["path"]
    channel.send(suite.run(request["test"], first_failure=request["first failure"]))


def _forget_pytest() -> None:
    """What the host imported for the suites: a candidate must find what a training job has."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("pytest", "_pytest", "pluggy"):
            del sys.modules[name]


def _end(pid: int, patience: float) -> int:
    """Wait for a job, kill it if that takes too long; its exit code, or minus the signal."""
    deadline = time.monotonic() + patience
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.005)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
