"""The judge: whether an op is right, decided in a process of its own."""

from __future__ import annotations

from workbench.judge.verdict import Check, Verdict
from workbench.judge.verify import verify

__all__ = ["Check", "Verdict", "verify"]
