"""The red team's corpus: every cheat is rejected for the right reason, all honest ones pass.

The fast lane reads all of them and judges a few; the slow lane verifies every one in full, as a git
range.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from court import write_library
from redteam_corpus import HERE, Entry, load

from workbench import judge
from workbench.judge.scan import scan
from workbench.judge.stage import op_files

CHEATS, HONEST = load("cheats"), load("honest")
BY_SOURCE = [name for name, cheat in CHEATS.items() if cheat.rejected_by == ("source",)]
README = HERE / "redteam" / "README.md"

# What the arguments of a process look like that a cheat leaves behind.
LEFT_BEHIND = b"sleep\x00864213"

# Checks that look back over the calls of others: these give them something to look at.
CALLS = {"forward", "backward"}

# One of each kind, for the fast lane.
FEW_CHEATS = """
    cache_by_address child_left_behind exact_on_large_values exit_in_call fig_leaf_beside
    module_ignores_its_parameter module_in_eval_mode module_that_never_learns
    output_that_unpickles_into_code reads_the_spec_file spec_of_zeros
""".split()
FEW_HONEST = ["recomputes", "tests_by_hand"]


def is_left_behind() -> bool:
    """Whether a process that a cheat started still runs."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue  # it has just ended
    return any(line.startswith(LEFT_BEHIND) for line in lines)


def verdict_on(entry: Entry, root: Path, only: Collection[str] | None = None) -> judge.Verdict:
    """The judge's verdict on an entry in a repository of its own below `root`."""
    entry.write(root)
    return judge.verify(root, entry.base, timeout=entry.timeout or 600.0, only=only)


def verdict_on_range(entry: Entry, root: Path) -> tuple[judge.Verdict, int]:
    """What `workbench verify` says of an entry as a commit on a library without the op, and its
    exit code.
    """
    write_library(root)
    base = commit(root, "the library")
    entry.write(root)
    head = commit(root, "the op")
    command = [sys.executable, "-m", "workbench", "verify", f"{base}..{head}", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    limit = ["--timeout", str(entry.timeout)] if entry.timeout else []
    done = subprocess.run(
        [*command, *limit], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 5), done.stderr
    (found,) = json.loads(done.stdout)["ops"]
    return judge.Verdict.model_validate(found["verdict"]), done.returncode


def commit(root: Path, message: str) -> str:
    """All files of `root` as a commit; its hash."""
    author = ["-c", "user.name=R", "-c", "user.email=r@example.org", "-c", "core.hooksPath=/"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--no-verify", "-m", message]):
        subprocess.run(["git", *author, *command], cwd=root, check=True)
    asked = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        asked, cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


def assert_rejected(cheat: Entry, verdict: judge.Verdict) -> None:
    """The verdict is a rejection by the checks and in the words the cheat names, fit to print."""
    failed = {check.name: check.message for check in verdict.failures}
    assert not verdict.passed
    said = [failed[name] for name in cheat.rejected_by if name in failed]
    assert said, f"none of {cheat.rejected_by} failed, but {failed}"
    assert any(re.search(cheat.says, message) for message in said), said
    assert not cheat.dynamic or failed.keys() & set(cheat.dynamic), failed
    assert "".join(failed.values()).replace("\n", "").isprintable()
    assert not is_left_behind()


def findings(entry: Entry) -> list[str]:
    """What the static scan finds in an entry's own files."""
    texts = entry.texts()
    files = {path.as_posix(): texts[path] for path in op_files(entry.base)}
    return [str(finding) for finding in scan(files, entry.base)]


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(CHEATS) >= 100
    assert len(HONEST) >= 30


@pytest.mark.parametrize("entry", [*CHEATS.values(), *HONEST.values()], ids=lambda e: e.name)
def test_an_entry_differs_from_its_base_and_is_python(entry: Entry) -> None:
    assert entry.why.strip()
    assert entry.edits or entry.files
    for path, text in entry.texts().items():
        compile(text, str(path), "exec")


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_says_why_it_must_fail(name: str) -> None:
    cheat = CHEATS[name]
    assert cheat.rejected_by
    assert cheat.says
    assert not re.search(cheat.says, "")


def test_the_readme_lists_every_entry_once() -> None:
    listed = re.findall(r"`(\w+)`", README.read_text().partition("## The entries")[2])
    assert sorted(listed) == sorted([*CHEATS, *HONEST])


@pytest.mark.parametrize("name", BY_SOURCE)
def test_the_source_gives_a_cheat_away(name: str) -> None:
    found = "\n".join(findings(CHEATS[name]))
    assert re.search(CHEATS[name].says, found), found


@pytest.mark.parametrize("name", HONEST)
def test_nothing_is_found_in_honest_source(name: str) -> None:
    assert findings(HONEST[name]) == []


@pytest.mark.parametrize("name", FEW_CHEATS)
def test_a_cheat_is_rejected(name: str, tmp_path: Path) -> None:
    cheat = CHEATS[name]
    only = {*cheat.rejected_by, *cheat.dynamic, *CALLS}
    assert_rejected(cheat, verdict_on(cheat, tmp_path, only))


@pytest.mark.parametrize("name", FEW_HONEST)
def test_an_honest_candidate_passes(name: str, tmp_path: Path) -> None:
    assert verdict_on(HONEST[name], tmp_path).failures == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEATS)
def test_every_cheat_is_rejected(name: str, tmp_path: Path) -> None:
    """Through the command, as a pull request brings it."""
    verdict, code = verdict_on_range(CHEATS[name], tmp_path)
    assert code == 5
    assert_rejected(CHEATS[name], verdict)


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_every_honest_candidate_passes(name: str, tmp_path: Path) -> None:
    if HONEST[name].needs_gpu and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    verdict, code = verdict_on_range(HONEST[name], tmp_path)
    assert (code, verdict.failures) == (0, [])
