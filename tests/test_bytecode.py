"""Compiled modules for jailed processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK = "from workbench.judge import bytecode; print(bytecode.folder())"


def asked(**settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_an_installation_without_bytecode_gets_a_folder_of_it(tmp_path: Path) -> None:
    """What is compiled is found again, by whoever asks next."""
    settings = {"PYTHONPYCACHEPREFIX": str(tmp_path / "none"), "XDG_CACHE_HOME": str(tmp_path)}
    kept = tmp_path / "workbench" / "bytecode"
    assert asked(**settings, PYTHONDONTWRITEBYTECODE="1") == str(kept)
    found = {path.name.partition(".")[0] for path in kept.rglob("*.pyc")}
    assert {"eval_frame", "symbolic_shapes", "_decomp", "main", "rehearsal"} & found >= {
        "eval_frame",
        "symbolic_shapes",
        "rehearsal",
    }
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.pyc")}
    assert asked(**settings) == str(kept)
    assert all(path.stat().st_mtime_ns == before[path] for path in before)


@pytest.mark.slow
def test_without_a_place_for_it_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = {
        "PYTHONPYCACHEPREFIX": str(tmp_path / "none"),
        "XDG_CACHE_HOME": str(tmp_path / "file"),
    }
    assert asked(**nowhere, PYTHONDONTWRITEBYTECODE="1") == "None"


def test_an_installation_with_bytecode_needs_none(tmp_path: Path) -> None:
    """Here it is there: the virtual environment was made by pip, which compiles."""
    import torch

    if not list((Path(torch.__file__).parent / "_dynamo" / "__pycache__").glob("__init__.*.pyc")):
        pytest.skip("this installation has no bytecode of its own")
    assert asked(XDG_CACHE_HOME=str(tmp_path)) == "None"
    assert not list(tmp_path.iterdir())
