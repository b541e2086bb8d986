"""The command `workbench mcp`."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.errors import UsageError
from workbench.options import MaxMinutes, MaxTurns, of_author


def mcp(max_turns: MaxTurns = None, max_minutes: MaxMinutes = None) -> None:
    """Let an agent of yours write ops: serve it the author's tools on standard input and output."""
    try:
        from workbench.mcp.server import serve
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the Model Context Protocol's SDK is not installed: no module {error.name}",
            "pip install 'kernel-workbench[workbench,mcp]'",
        ) from error
    from workbench.mcp.session import Session
    from workbench.repository import Repository

    repository = Repository.discover(Path.cwd())
    os.chdir(repository.root)  # what an agent names is from there
    serve(Session(repository, options=of_author(None, None, max_turns, None, None, max_minutes)))
