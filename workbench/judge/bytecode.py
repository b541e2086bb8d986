"""Compiled modules for jailed processes, which can't write any.

An installation usually has its bytecode beside its sources. Some installers leave that to the first
import, and what only a jailed process imports is then compiled in every verdict again: PyTorch's
compiler alone has over a thousand files, and takes longer than the verdict.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib.util import cache_from_source, find_spec
from pathlib import Path

VARIABLE = "PYTHONPYCACHEPREFIX"
_REHEARSAL_SECONDS = 300.0


@cache
def folder() -> Path | None:
    """Where jailed processes find what is compiled, None: beside the sources.

    The first time on a machine that has none, everything a verdict imports is compiled, by a
    process that runs nobody's code.
    """
    own = Path(sys.pycache_prefix) if sys.pycache_prefix else None
    if _has_bytecode(own):
        return own
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kept = Path(caches) / "workbench" / "bytecode"
    if not _has_bytecode(kept):
        _rehearse(kept)
    return kept if _has_bytecode(kept) else None


def _has_bytecode(prefix: Path | None) -> bool:
    """Whether a module that the judge itself does not import is compiled below `prefix`."""
    torch = find_spec("torch")
    assert torch is not None and torch.origin is not None
    source = Path(torch.origin).parent / "_dynamo" / "__init__.py"
    before, sys.pycache_prefix = sys.pycache_prefix, None if prefix is None else str(prefix)
    try:
        return Path(cache_from_source(str(source))).exists()
    finally:
        sys.pycache_prefix = before


def _rehearse(kept: Path) -> None:
    """Import and use once what a verdict does; without success, everything is only slower."""
    settings = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    roots = [entry for entry in sys.path if entry]
    settings |= {VARIABLE: str(kept), "PYTHONPATH": os.pathsep.join(roots)}
    command = [sys.executable, "-P", "-m", "workbench.worker.rehearsal"]
    try:
        subprocess.run(
            command, env=settings, capture_output=True, check=False, timeout=_REHEARSAL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return
