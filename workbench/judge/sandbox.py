"""Which sandbox works here, found by running a program in it that tries to get out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from functools import cache
from pathlib import Path

from workbench.errors import UsageError
from workbench.judge import bytecode
from workbench.judge.jail import Jail
from workbench.judge.walls import LANDLOCK, Level, Sandbox
from workbench.worker import guard, probe

__all__ = ["VARIABLE", "Jail", "Level", "Sandbox", "find"]

VARIABLE = "WORKBENCH_SANDBOX"

_PROBE_SECONDS = 20.0
_PROGRAMS = {Level.BUBBLEWRAP: ("bwrap",), Level.NAMESPACES: ("unshare", "setpriv")}
# What the probe must not manage, in the words of `probe.BREACHES`.
_PROMISES = {
    Level.BUBBLEWRAP: frozenset(probe.BREACHES),
    Level.LANDLOCK: frozenset(probe.BREACHES),
    Level.NAMESPACES: frozenset({"uses the network", "reads environments"}),
    Level.SECCOMP: frozenset({"uses the network"}),
}
_LAYERS = {
    Level.BUBBLEWRAP: ("own files", "own processes", "no network"),
    Level.NAMESPACES: ("own processes", "no network"),
}


def find(required: Level | None = None) -> Sandbox:
    """The strongest sandbox that keeps its promises here; or of one level, asked for.

    Without `required` the variable WORKBENCH_SANDBOX may name the level.

    Raises:
        UsageError: there is no such level, or it does not work here.
    """
    level = required or _named()
    bytecode.folder()  # takes its time once, which is not the probe's
    reasons: list[str] = []
    for candidate in Level:
        if level is None or candidate is level:
            found = _try(candidate)
            if isinstance(found, Sandbox):
                return found
            reasons.append(f"{candidate}: {found}")
        if candidate is level:
            break
    what = f"the sandbox '{level}' does" if level else "no sandbox does"
    raise UsageError(f"{what} not work here ({'; '.join(reasons)})", hint=f"see {VARIABLE}")


def _named() -> Level | None:
    name = os.environ.get(VARIABLE, "")
    try:
        return Level(name) if name else None
    except ValueError:
        raise UsageError(f"{VARIABLE} is '{name}'; it may be: {', '.join(Level)}") from None


@cache
def _try(level: Level) -> Sandbox | str:
    """The level as it is here, or why it can't be had."""
    missing = [name for name in _PROGRAMS.get(level, ()) if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} not installed"
    inside = bool(guard.landlock_version()) and level in (Level.BUBBLEWRAP, Level.LANDLOCK)
    if level is Level.LANDLOCK and not inside:
        return "not in this kernel"
    trial = Sandbox(level=level, layers=(LANDLOCK,) if inside else ())
    with tempfile.TemporaryDirectory(prefix="workbench-probe-") as folder, socket.socket() as port:
        canary = Path(folder) / "canary"
        canary.write_text("seen")
        port.bind(("127.0.0.1", 0))
        port.listen()
        facts = {
            "canary": str(canary),
            "port": port.getsockname()[1],
            "pid": os.getpid(),
            "environment": _own_environment(),
        }
        return _probe(trial, facts)


def _probe(trial: Sandbox, facts: dict[str, str | int]) -> Sandbox | str:
    jail = Jail(
        "probe",
        [json.dumps(facts)],
        sandbox=trial,
        python_path=[Path(probe.__file__).parent],
        scratch_bytes=1 << 20,
        deadline=time.monotonic() + _PROBE_SECONDS,
    )
    try:
        with jail:
            jail.wait()
    except UsageError as error:
        return str(error)
    if jail.ending:
        return f"it {jail.ending}: {jail.last_words()}"
    answer = json.loads(jail.last_words())
    broken = sorted(_PROMISES[trial.level].intersection(answer["breaches"]))
    if broken:
        return f"a process in it {' and '.join(broken)}"
    layers = (*_LAYERS.get(trial.level, ()), *answer["layers"])
    return Sandbox(level=trial.level, layers=layers, weaknesses=trial.level.weaknesses)


def _own_environment() -> str:
    try:
        return hashlib.sha256(Path("/proc/self/environ").read_bytes()).hexdigest()
    except OSError:
        return "unreadable"
