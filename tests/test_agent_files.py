"""What an agent may look at and write: nothing leads out of its worktree, answers are bounded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_fixtures import FOLDER, OP, Say, worktree
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent import files as module
from workbench.agent.files import MOST_CHARACTERS, Files, ToolError
from workbench.agent.redaction import REDACTED, without_keys
from workbench.agent.tools import Toolbox

SECRET = "the secret of the house"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A worktree with links out of it, beside a folder with a secret."""
    house = tmp_path_factory.mktemp("house")
    (house / "secret.py").write_text(SECRET)
    (house / "secrets").mkdir()
    (house / "secrets" / "more.py").write_text(SECRET)
    root = worktree(house / "worktree")
    (root / ".git").write_text(f"gitdir: {SECRET}")
    for number, target in enumerate(("../secret.py", "../secrets", "..", "/", str(house))):
        (root / f"link{number}").symlink_to(target)
    (root / "kernels" / "round").symlink_to("round")
    (root / "kernels" / "deep.py").symlink_to("../link0")
    return Files(root, OP)


STEPS = ("..", ".", "/", "~", "link0", "link1", "link2", "link3", "link4", "kernels", "round",
         "deep.py", "secret.py", "secrets", "more.py", ".git", "worktree", "etc", "passwd", "\0",
         "proc", "self", "environ", "workbench_kernels", "__init__.py")  # fmt: skip


@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7), st.sampled_from(("", "/")))
def test_no_path_leads_out(files: Files, steps: list[str], start: str) -> None:
    path = start + "/".join(steps)
    for look in (files.list, files.read, lambda path: files.search(SECRET, path)):
        try:
            found = look(path)
        except ToolError:
            continue
        assert SECRET not in found
        assert "passwd" not in found
        assert "secret.py" not in found.splitlines()


def test_what_is_listed_and_found_stays_inside(files: Files) -> None:
    assert ".git" not in files.list(".").splitlines()
    assert files.search(SECRET, ".") == "(no line has it)"
    assert "library" in files.read(f"{FOLDER}/__init__.py")


@pytest.mark.parametrize("where", ["folder", "file"])
def test_nothing_is_written_through_a_link(tmp_path: Path, where: str) -> None:
    root = worktree(tmp_path / "worktree")
    (tmp_path / "outside").mkdir()
    if where == "folder":
        (root / FOLDER / OP).symlink_to(tmp_path / "outside")
    else:
        (root / FOLDER / OP).mkdir()
        (root / FOLDER / OP / "kernel.py").symlink_to(tmp_path / "outside" / "kernel.py")
    with pytest.raises(ToolError, match="not where it should be"):
        Files(root, OP).write("kernel.py", "x")
    assert list((tmp_path / "outside").iterdir()) == []


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4), st.text())
def test_whatever_is_asked_for_only_the_three_files_are_written(
    files: Files, given: dict[str, str], tool: str
) -> None:
    """A call that no schema allows does nothing, and says so."""
    before = sorted(files.root.rglob("*"))
    for name in ("write", "edit", "read", "verify", tool):
        result = Toolbox(files, Say()).call({"id": "1", "name": name, "input": given})
        allowed = name == "verify" and not given
        assert result.is_error is not allowed
    assert sorted(files.root.rglob("*")) == before


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Files]:
    """A worktree with more in it than anyone is told at once."""
    root = worktree(tmp_path)
    (root / "long.py").write_text("word\n" * 3000)
    (root / "broad.py").write_text("word" * 20000)
    (root / "huge.py").write_text("word\n" * 50000)
    (root / "bytes.py").write_bytes(b"\0\1")
    for number in range(400):
        (root / f"file{number:03}.txt").touch()
    yield Files(root, OP)


def test_what_is_returned_is_bounded(wide: Files) -> None:
    lines = wide.read("long.py").splitlines()
    assert (len(lines), lines[-1]) == (601, "... 2400 more lines from line 601")
    assert wide.read("long.py", 2999, 10**9).splitlines() == [" 2999  word", " 3000  word"]
    assert len(wide.read("broad.py")) < MOST_CHARACTERS + 20
    assert len(wide.list(".").splitlines()) == 301
    assert len(wide.search("word", ".")) < MOST_CHARACTERS + 20
    assert len(wide.search("word", ".").splitlines()) == module.MOST_MATCHES + 1


@pytest.mark.parametrize(
    ("path", "says"),
    [("huge.py", "more than 200000 bytes"), ("bytes.py", "is not text"), ("none.py", "no file")],
)
def test_what_is_not_read(wide: Files, path: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        wide.read(path)
    with pytest.raises(ToolError, match="no line 4000"):
        wide.read("long.py", 4000)
    with pytest.raises(ToolError, match="nothing to search"):
        wide.search(" ", ".")
    with pytest.raises(ToolError, match="200000 bytes"):
        wide.write("kernel.py", "x" * 200_001)


@pytest.mark.parametrize(("old", "times"), [("a", 3), ("b", 0), ("", 0)])
def test_an_edit_names_one_place(wide: Files, old: str, times: int) -> None:
    wide.write("wrapper.py", "aaa")
    with pytest.raises(ToolError, match=f"the old text {times} times"):
        wide.edit("wrapper.py", old, "c")
    assert wide.written["wrapper.py"].read_text() == "aaa"


@given(st.text(max_size=40), st.text("0123456789abcdef-", min_size=8), st.text(max_size=40))
def test_a_key_is_nowhere(before: str, key: str, after: str) -> None:
    said = {"said": [before + key + after], key: 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", key)
        written = json.loads(json.dumps(without_keys(said)))
    assert list(written) == ["said", REDACTED]
    assert key not in written["said"][0]


def test_a_file_may_be_called_anything(wide: Files) -> None:
    (wide.root / "tests" / os.fsdecode(b"\xff.py")).write_text("word\n")
    found = Toolbox(wide, Say()).call({"id": "1", "name": "list", "input": {"path": "tests"}})
    assert found.content == "kernels/\n?.py"


def test_no_file_is_followed_by_a_kernel_of_proc(files: Files) -> None:
    with pytest.raises(ToolError, match="outside"):
        files.read(f"link3/proc/{os.getpid()}/environ")
