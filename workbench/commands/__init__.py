"""Commands that have a file of their own; `cli.py` has the others, and registers all."""

from __future__ import annotations

from workbench.commands.autopatch import autopatch
from workbench.commands.models import models
from workbench.commands.new import new
from workbench.commands.profile import app as profile
from workbench.commands.revise import revise
from workbench.commands.step import step
from workbench.commands.tune import tune

__all__ = ["autopatch", "models", "new", "profile", "revise", "step", "tune"]
