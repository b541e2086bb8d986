"""Lay out authored Python as the library is laid out, so that a diff shows what was written and not
how.
"""

from __future__ import annotations

import subprocess

from ruff import find_ruff_bin

from workbench.errors import AuthorError

_STYLE = ["--line-length=100", "--target-version=py311", "--isolated", "--no-cache", "--quiet"]


def formatted(source: str) -> str:
    """`source` with its imports sorted and its lines broken.

    Raises:
        AuthorError: it isn't Python.
    """
    sort = [
        "check",
        "--select=I",
        "--fix",
        "--config=lint.isort.known-first-party=['workbench_kernels']",
    ]
    for command in (sort, ["format"]):
        source = _ruff([*command, *_STYLE, "-"], source)
    return source


def _ruff(arguments: list[str], source: str) -> str:
    done = subprocess.run(
        [find_ruff_bin(), *arguments], input=source, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AuthorError(f"the author wrote a file that isn't Python: {done.stderr.strip()}")
    return done.stdout
