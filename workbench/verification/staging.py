"""A bare folder of an op's files, laid out as the library has them."""

from __future__ import annotations

import shutil
from pathlib import Path

import workbench_kernels
from workbench.errors import UsageError
from workbench.layout import LIBRARY, op_paths
from workbench.repository import Repository
from workbench.verification import specs

NEEDED = ("spec.py", "kernel.py", "wrapper.py")


def stage(folder: Path, repository: Repository | None, root: Path) -> str:
    """Copy the files below `root`, beside the library of `repository`, or of the installed package.

    Returns the op's name. Links stay links, so that the judge sees them.

    Raises:
        UsageError: its spec doesn't tell a name, or it's unclear which file is the test.
    """
    op = specs.op_name((folder / "spec.py").read_bytes())
    if op is None or not op.isidentifier():
        raise UsageError(
            f"{folder / 'spec.py'} doesn't say what the op is called",
            'it needs one statement SPEC = OpSpec(name="...", ...)',
        )
    shared = repository.root / LIBRARY if repository else Path(workbench_kernels.__path__[0])
    target, test = (root / path for path in op_paths(op))
    target.mkdir(parents=True)
    test.parent.mkdir(parents=True)
    for file in shared.glob("*.py"):
        shutil.copyfile(file, target.parent / file.name)
    for name in NEEDED:
        shutil.copyfile(folder / name, target / name, follow_symlinks=False)
    own_test = _test(folder, op)
    if own_test is not None:
        shutil.copyfile(own_test, test, follow_symlinks=False)
    return op


def _test(folder: Path, op: str) -> Path | None:
    for name in (f"test_{op}.py", f"tests_of_{op}.py"):
        if (folder / name).exists():
            return folder / name
    found = sorted(folder.glob("test*.py"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise UsageError(f"{folder} has several tests: {names}", f"name the op's test_{op}.py")
    return found[0] if found else None
