"""`workbench verify`: what a target is, which ops it holds, the judge's verdict on each.

targets ── ranges ── changes      a word of the user's → a root, its ops, what a range changes
rules ── specs                    what a maintainer asks of the files before any number
verify ── result ── junit         the judge, op by op; what it found, for people and for CI
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a target can be, in the order in which a word is tried."""

    OP = "op"
    RUN = "run"
    FOLDER = "folder"
    GIT = "git"
