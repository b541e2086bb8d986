"""The files that an op is worked on with, as bytes that can travel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import workbench_kernels
from workbench.errors import EvidenceError
from workbench.evidence import Evidence
from workbench.judge.stage import CANDIDATE, TRUSTED
from workbench.layout import LIBRARY, evidence_path, op_paths
from workbench.repository import Content, content

_OTHERS = ("spec.py", *CANDIDATE)


def snapshot(root: Path, op: str) -> dict[str, bytes]:
    """All of the op's files, the library's shared ones, and the other ops, by path below `root`;
    no symbolic link.
    """
    library = root / LIBRARY
    paths = [*library.glob("*.py"), *(p for name in _OTHERS for p in library.glob(f"*/{name}"))]
    plain = [p for p in paths if p.is_file() and not p.is_symlink() and not p.parent.is_symlink()]
    others = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(plain)}
    return others | dict(content(root, op).files)


def check(evidence: Evidence, op: str, files: Mapping[str, bytes], kind: str) -> None:
    """See that a record is about these files of this op.

    Raises:
        EvidenceError: it is about others, or is of another kind.
    """
    folder, test = op_paths(op)
    own = {path: data for path, data in files.items() if path.startswith(f"{folder}/")}
    own |= {test: files[test]} if test in files else {}
    own.pop(evidence_path(op), None)
    wrong = Content(own).changes(evidence.files) + _shared(files).changes(evidence.library)
    if (evidence.op, evidence.kind) != (op, kind):
        wrong.append(f"it is a {evidence.kind} of {evidence.op}")
    if wrong:
        raise EvidenceError(
            f"the record {evidence.id[:12]} that came back is not of the files of {op} that were "
            f"sent: {'; '.join(wrong)}",
            "is the workbench there the same as here?",
        )


def digest(folder: Path) -> str:
    """SHA-256 over the Python files below a folder, by path."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _shared(files: Mapping[str, bytes]) -> Content:
    """The library's shared files as an op is judged with them: some are always the workbench's."""
    package = Path(str(workbench_kernels.__file__)).parent
    theirs = {
        path: data
        for path, data in files.items()
        if Path(path).parent.as_posix() == LIBRARY and Path(path).name not in TRUSTED
    }
    return Content(theirs | {f"{LIBRARY}/{n}": (package / n).read_bytes() for n in TRUSTED})
