"""What a maintainer asks of an op's files before believing any number: each rule is a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from workbench.errors import EvidenceError, UnknownOpError
from workbench.judge.verdict import Check
from workbench.layout import evidence_path, op_paths
from workbench.repository import Entry, Repository, content
from workbench.runs import Run
from workbench.text import printable
from workbench.verification import specs
from workbench.verification.changes import Changes
from workbench.verification.ranges import MOST_BYTES, Range, is_plain

Rule = Callable[[str], Check]


def plain_files(found: Range, op: str) -> Check:
    """What a range brings of an op is text in plain files, which links and submodules are not."""
    folder, test = op_paths(op)
    own = {
        path: entry
        for path, entry in found.changes.head.items()
        if f"{path}/".startswith((f"{folder}/", f"{test}/"))
    }
    problems = [f"{printable(path)} {what}" for path, entry in own.items() if (what := _odd(entry))]
    texts = found.read([path for path, entry in own.items() if is_plain(entry)])
    problems += [f"{printable(path)} is not text" for path, data in texts.items() if b"\0" in data]
    return _check("source", "\n".join(problems))


def judged_as_before(changes: Changes, op: str) -> Check:
    """The range leaves alone what decides how its ops are judged."""
    changed = changes.judging_files
    named = ", ".join(map(printable, changed[:3]))
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    message = (
        f"the range changes what ops are judged by: {named}{more}; "
        "land that by itself, reviewed by a person, and the ops after it"
    )
    return _check("judge's files", message if changed else "")


def spec_stands(old: Mapping[str, bytes], root: Path, op: str) -> Check:
    """The op's spec is what it was, `old` holding the base's; a new op's is a catalogue's."""
    if op not in old:
        return spec_of_catalogue(root, op)
    stands = specs.same(old[op], _spec(root, op))
    message = "what it is judged by, its spec.py, was changed: a person must confirm it"
    return _check("spec", "" if stands else message)


def spec_of_base(repository: Repository, base: str, root: Path, op: str) -> Check:
    """The op's spec is what it is in a commit."""
    entry = repository.tree(base).get(f"{op_paths(op)[0]}/spec.py")
    old = {op: repository.blobs([entry.object])[0]} if entry is not None else {}
    return spec_stands(old, root, op)


def test_of_base(repository: Repository, base: str, root: Path, op: str) -> Check:
    """The op's test is what it is in a commit, byte for byte."""
    path = op_paths(op)[1]
    entry = repository.tree(base).get(path)
    old = repository.blobs([entry.object])[0] if entry is not None else b""
    file = root / path
    same = file.is_file() and not file.is_symlink() and file.read_bytes() == old
    message = f"its test was changed, and a revision keeps it: git checkout {base[:10]} -- {path}"
    return _check("test", "" if same else message)


def spec_of_catalogue(root: Path, op: str) -> Check:
    """The reference is a catalogue's, word for word; else nobody here has confirmed it."""
    from workbench.reference import find

    try:
        known = find(op)
    except UnknownOpError:
        name = printable(op)
        message = f"nobody here confirmed what {name} is: no catalogue has it, so read its spec.py"
        return Check(name="spec", status="skipped", message=message)
    if specs.consists_of(_spec(root, op), known.text, known.symbol):
        return Check(name="spec", status="passed")
    message = f"its spec.py is not the reference the {known.origin} has for {op}, so read it"
    return Check(name="spec", status="skipped", message=message)


def spec_of_run(run: Run, root: Path, op: str) -> Check:
    """The reference is the one the run began with."""
    from workbench.source import Source

    record = run.request.reference
    text = Source(tuple(record["imports"]), record["source"], record["inputs_source"]).text
    stands = specs.consists_of(_spec(root, op), text, record["symbol"])
    message = f"its spec.py is not the reference run {run.id} began with: a person must confirm it"
    return _check("spec", "" if stands else message)


def evidence_fits(root: Path, op: str) -> Check:
    """The evidence beside the op is about these files. It's not believed, only not left to lie."""
    from workbench.evidence.document import Document

    if not (root / evidence_path(op)).exists():
        message = "it comes with no evidence.json: what is known of it is this verdict"
        return Check(name="evidence", status="skipped", message=message)
    try:
        changes = content(root, op).changes(Document.load(root, op).files)
    except EvidenceError as error:
        return _check("evidence", str(error))
    about = f"evidence.json is about other files: {'; '.join(changes)}; remove it, or make it anew"
    return _check("evidence", about if changes else "")


def _odd(entry: Entry) -> str:
    """What is wrong with an entry of a tree, if it's not a plain file of bearable size."""
    modes = {
        "120000": "is a symbolic link",
        "160000": "is a submodule",
        "100755": "is executable",
    }
    if entry.mode != "100644":
        return modes.get(entry.mode, f"has mode {entry.mode}")
    return f"has {entry.size} bytes" if entry.size > MOST_BYTES else ""


def _spec(root: Path, op: str) -> bytes:
    file = root / op_paths(op)[0] / "spec.py"
    return file.read_bytes() if file.is_file() and not file.is_symlink() else b""


def _check(name: str, problem: str) -> Check:
    return Check(name=name, status="failed" if problem else "passed", message=problem)
