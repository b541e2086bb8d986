"""What the judge tries with an op: groups of checks, each a generator of trials."""

from __future__ import annotations

from workbench.judge.checks.behaviour import Behaviour
from workbench.judge.checks.clock import Clock
from workbench.judge.checks.interface import Interface
from workbench.judge.checks.spec import Spec
from workbench.judge.checks.values import Values
from workbench.judge.checks.work import Work

__all__ = ["Behaviour", "Clock", "Interface", "Spec", "Values", "Work"]
