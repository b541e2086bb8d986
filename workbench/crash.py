"""What is kept of a bug of ours."""

from __future__ import annotations

import tempfile
import traceback
from datetime import datetime
from pathlib import Path

from workbench.agent.redaction import redacted


def keep_traceback() -> str:
    """Write the current exception's traceback where it outlives the terminal; where that is."""
    here = Path.cwd()
    states = [folder / ".workbench" for folder in (here, *here.parents)]
    state = next((folder for folder in states if folder.is_dir()), Path(tempfile.gettempdir()))
    path = state / "log" / f"{datetime.now():%Y%m%d-%H%M%S-%f}.txt"
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(redacted(traceback.format_exc()))
    except OSError:
        traceback.print_exc()
        return "above"
    return f"in {path}"
