"""Make a model use the library: every module that a kernel is proven to serve, and no other.

    from workbench_kernels.patching import patch

    report = patch(model)

A rule finds modules by what they are made of, not by the model's name, and proves each kind of them
numerically against the model's own forward before it is replaced. Nothing global is touched: only
instances are, and `unpatch` restores them.
"""

from workbench_kernels.patching.apply import PatchError, patch, patched, unpatch
from workbench_kernels.patching.report import Entry, Report

__all__ = ["Entry", "PatchError", "Report", "patch", "patched", "unpatch"]
