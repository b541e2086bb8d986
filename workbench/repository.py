"""The user's git repository: what a run may read of it, and the little it may write to it.

A run works in a worktree of its own below `.workbench/`. The user's checkout, index, HEAD and
branches are never touched: trees and commits are made as plain objects through a throw-away index,
and only the branch `workbench/<run>` moves. No hook runs, no signature is asked for, and no index
lock of a killed git is in the way.
"""

from __future__ import annotations

import fcntl
import hashlib
import keyword
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import git

from workbench import layout
from workbench.errors import RepositoryError, RunError, UsageError
from workbench.layout import LIBRARY, Subject, op_paths

CACHE = "__pycache__"
_MADE = ".made"  # beside a worktree that is whole
# No hook of the user's, no daemon that would outlive the command and keep the run's lock.
SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "i18n.commitEncoding=UTF-8",
)


@dataclass(frozen=True)
class Content:
    """A subject's files, path to bytes: what is judged, hashed, approved and committed."""

    files: Mapping[str, bytes]

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of every file."""
        return {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}

    @cached_property
    def hash(self) -> str:
        """sha256 over paths and bytes; "" when there are no files."""
        lines = [f"{digest}  {path}\n" for path, digest in self.digests.items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""

    def changes(self, digests: Mapping[str, str]) -> list[str]:
        """What is different from files of these digests, one phrase each."""
        removed = [f"{path} was removed" for path in digests if path not in self.digests]
        added = [f"{path} was added" for path in self.digests if path not in digests]
        changed = [
            f"{path} was changed"
            for path, digest in self.digests.items()
            if digests.get(path, digest) != digest
        ]
        return [*changed, *added, *removed]


@dataclass(frozen=True)
class Entry:
    """A path of a commit's tree as git has it, whatever its attributes say. Sizes are bytes."""

    mode: str
    object: str
    size: int

    @property
    def is_file(self) -> bool:
        """Whether it's a file, executable or not: no symbolic link, no submodule."""
        return self.mode in ("100644", "100755")


def ops_in(root: Path) -> list[str]:
    """Names of the ops below a root's library: its folders with a spec."""
    return sorted(path.parent.name for path in (root / LIBRARY).glob("*/spec.py"))


def content(root: Path, op: str) -> Content:
    """The files of an op, as `content_of` finds them."""
    return content_of(root, layout.op(op))


def content_of(root: Path, subject: Subject) -> Content:
    """A subject's plain files as they are on disk now, without symbolic links and Python's caches.

    Its evidence is no part of it: that is about these files.
    """
    own = [root / path for path in subject.paths]
    within = [file for path in own if not path.is_symlink() for file in path.rglob("*")]
    files = {
        path.relative_to(root).as_posix(): path
        for path in (*own, *within)
        if path.is_file() and not path.is_symlink() and CACHE not in path.parts
    }
    files.pop(subject.evidence, None)
    return Content({path: files[path].read_bytes() for path in sorted(files)})


@dataclass
class Repository:
    """A git repository with a kernel library. Git commands inherit the descriptors `keep_open`."""

    repo: git.Repo
    root: Path
    keep_open: Sequence[int] = field(default=())

    @classmethod
    def discover(cls, start: Path) -> Repository:
        """The repository `start` lies in; from within a run's worktree, the one the run belongs to.

        Raises:
            RepositoryError: no git repository, a bare one, or no kernel library in its HEAD.
        """
        try:
            root = Path(git.Repo(start, search_parent_directories=True).working_dir or "")
        except git.InvalidGitRepositoryError as error:
            raise RepositoryError(
                f"{start} is not inside a git repository",
                "change to your clone, or make one: git init",
            ) from error
        if root.parent.name == "worktrees" and root.parent.parent.name == ".workbench":
            root = root.parent.parent.parent
        repository = cls(git.Repo(root), root)
        if repository.repo.bare:
            raise RepositoryError(
                f"{start} is a bare git repository", "run the workbench in a checkout of it"
            )
        if not repository.repo.head.is_valid():
            raise RepositoryError(
                f"{root} has no commit yet",
                "commit the kernel library first, a run starts from HEAD",
            )
        if not repository.has("HEAD", LIBRARY):
            raise RepositoryError(
                f"{root} is not a kernel library: HEAD has no {LIBRARY}/",
                "run the workbench in a clone that has it",
            )
        return repository

    @property
    def state(self) -> Path:
        """The workbench's own folder, ignored by git."""
        return self.root / ".workbench"

    # Reading

    def head(self) -> str:
        """The commit the user's checkout is at."""
        return self._git("rev-parse", "HEAD")

    def has(self, commit: str, path: str) -> bool:
        """Whether the commit holds a file or folder at `path`."""
        return bool(self._git("ls-tree", "--full-tree", "--name-only", commit, path))

    def ops(self) -> list[str]:
        """Names of the ops in the user's checkout."""
        return ops_in(self.root)

    def check_ops(self, ops: Sequence[str]) -> None:
        """Refuse what is no op of the checkout's library.

        Raises:
            UsageError: one is not.
        """
        known = self.ops()
        for op in ops:
            if op not in known:
                raise UsageError(f"the library has no op {op!r}", "workbench ops lists them")

    def check_new_op(self, op: str) -> None:
        """Refuse a name that can't be an op's, or that HEAD's library uses already.

        Raises:
            UsageError: not a lower-case Python identifier.
            RepositoryError: something of that name exists; where it is.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", op) or keyword.iskeyword(op):
            raise UsageError(
                f"{op!r} is not a name for an op",
                "use lower-case letters, digits and _, as in rms_norm; no word of Python's own",
            )
        for path in (*op_paths(op), f"{LIBRARY}/{op}.py"):
            if self.has("HEAD", path):
                raise RepositoryError(
                    f"{op} exists already: HEAD has {path}",
                    "choose another name, or remove it first",
                )

    def person(self, given: str | None = None) -> str:
        """`given` if it is of the form `Name <email>`, else the user of git's configuration.

        Raises:
            UsageError: neither names a person.
        """
        if given is not None and not re.fullmatch(r"[^<>\n]*[^<>\s] <[^<>\s]+>", given):
            raise UsageError(f"{given!r} does not name a person", '--as "Name <email>"')
        settings = ("user.name", "user.email")
        name, email = (self._git("config", "--default", "", "--get", key) for key in settings)
        if given is None and not (name and email):
            raise UsageError(
                "nobody to approve: git knows no user.name and user.email",
                'set them with git config, or say who you are: --as "Name <email>"',
            )
        return given or f"{name} <{email}>"

    def diff(self, old: str, new: str, *, without: str) -> str:
        """The plain difference of two trees or commits, but for one path."""
        plain = ("--no-color", "--no-ext-diff", "--no-textconv")
        return self._git("diff", *plain, old, new, "--", ":/", f":(top,exclude,literal){without}")

    def commit(self, revision: str) -> str | None:
        """The commit a revision names; None where it names none."""
        try:
            return self._git(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except RepositoryError:
            return None

    def merge_base(self, one: str, other: str) -> str:
        """The newest commit both have in their history.

        Raises:
            RepositoryError: there is none.
        """
        try:
            return self._git("merge-base", one, other)
        except RepositoryError as error:
            raise RepositoryError(
                f"{one[:10]} and {other[:10]} have no common ancestor here",
                "a shallow clone has too few commits: git fetch --unshallow",
            ) from error

    def branches(self) -> list[str]:
        """Every branch, those of remotes too: main, origin/main."""
        listed = self._git(
            "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes"
        )
        return listed.splitlines()

    def tree(self, commit: str) -> dict[str, Entry]:
        """Every file, link and submodule of a commit by path; a name that isn't UTF-8 is escaped.

        Neither .gitattributes nor any configuration can hide one, as they can from `git archive`.
        """
        entries = {}
        for line in self._git("ls-tree", "-r", "-l", "-z", "--full-tree", commit).split("\0"):
            about, tab, path = line.partition("\t")
            if tab:
                mode, _, name, size = about.split()
                known = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                entries[known] = Entry(mode, name, int(size) if size != "-" else 0)
        return entries

    def blobs(self, objects: Sequence[str]) -> list[bytes]:
        """The contents of objects as they were committed, through no filter."""
        asked = "".join(f"{name}\n" for name in objects).encode()
        data = memoryview(self._output("cat-file", "--batch", stdin=asked))
        found = []
        for _ in objects:
            head = bytes(data[:200]).split(b"\n", 1)[0]
            size, start = int(head.split()[2]), len(head) + 1
            found.append(bytes(data[start : start + size]))
            data = data[start + size + 1 :]
        return found

    def branch_head(self, run: str) -> str | None:
        """The commit the run's branch is at."""
        return (
            self._git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch(run)}") or None
        )

    # The run's worktree and branch

    def worktree(self, run: str) -> Path:
        """Where the run's worktree is, made or not."""
        return self.state / "worktrees" / run

    def ensure_worktree(self, run: str, base: str) -> Path:
        """The run's worktree, on its branch; one that a kill left half made is made again."""
        path = self.worktree(run)
        if not (self._made(run).exists() and (path / ".git").exists()):
            self.remove_worktree(run)
            self._clear_lock(run)
            if self.branch_head(run) is None:
                self._move_branch(run, base, "0" * 40)
            with self._alone():
                self._git("worktree", "add", "--quiet", "--force", str(path), branch(run))
            self._made(run).touch()
        return path

    def ensure_variant(self, run: str, name: str, base: str) -> Path:
        """A worktree for one of a run's variants, at the base commit and on no branch."""
        variant = f"{run}-{name}"
        path = self.worktree(variant)
        if not (self._made(variant).exists() and (path / ".git").exists()):
            self.remove_worktree(variant)
            with self._alone():
                self._git("worktree", "add", "--quiet", "--force", "--detach", str(path), base)
            self._made(variant).touch()
        return path

    def remove_variants(self, run: str) -> None:
        """Remove the worktrees of a run's variants."""
        for path in self.worktree(run).parent.glob(f"{run}-*"):
            self.remove_worktree(path.name.removesuffix(_MADE))

    def remove_worktree(self, run: str) -> None:
        """Remove the run's worktree and git's record of it, in whatever state they are."""
        self._made(run).unlink(missing_ok=True)
        path = self.worktree(run)
        shutil.rmtree(path, ignore_errors=True)
        # `git worktree prune` would also drop the user's worktrees that are only unmounted now.
        for entry in (Path(self.repo.common_dir) / "worktrees").glob(f"{run}*"):
            pointer = entry / "gitdir"
            target = Path(pointer.read_text().strip()).parent if pointer.exists() else path
            if target.resolve() == path.resolve():
                with self._alone():
                    shutil.rmtree(entry, ignore_errors=True)

    def discard(self, run: str) -> None:
        """Remove the run's worktrees and its branch."""
        self.remove_variants(run)
        self.remove_worktree(run)
        if self.branch_head(run) is not None:
            self._clear_lock(run)
            self._git("update-ref", "-d", f"refs/heads/{branch(run)}")

    def strays(self, run: str, subject: Subject) -> list[str]:
        """What the worktree holds besides the subject's plain files and the base commit's."""
        root = self.worktree(run)
        lines = self._git(
            "-C", str(root), "status", "--porcelain", "--untracked-files=all", "--no-renames", "-z"
        )
        own = content_of(root, subject).files
        paths = [line[3:] for line in lines.split("\0") if line]
        return [path for path in paths if path not in own and CACHE not in path.split("/")]

    # The commit

    def write_tree(self, base: str, subject: Subject, files: Mapping[str, bytes]) -> str:
        """The base commit's tree with the subject's files exactly as given, as an object only."""
        with tempfile.TemporaryDirectory(dir=self.state) as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", base, env=index)
            stale = self._git("ls-files", "-z", "--", *subject.paths, env=index).split("\0")
            self._git("update-index", "--force-remove", "--", *filter(None, stale), env=index)
            for path, data in files.items():
                blob = self._git("hash-object", "-w", "--stdin", "--no-filters", stdin=data)
                self._git(
                    "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index
                )
            return self._git("write-tree", env=index)

    def write_commit(self, tree: str, parent: str, message: str, person: str) -> str:
        """A commit object by `person`, on no branch yet."""
        name, _, email = person.rstrip(">").partition(" <")
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in
               (("NAME", name), ("EMAIL", email))}  # fmt: skip
        return self._git(
            "commit-tree", tree, "-p", parent, "-F", "-", stdin=message.encode(), env=who
        )

    def move_branch(self, run: str, commit: str, base: str) -> None:
        """Move the run's branch from `base` to `commit`; fine if it is there already.

        Raises:
            RunError: someone else moved it.
        """
        at = self.branch_head(run)
        if at not in (commit, base, None):
            raise RunError(
                f"branch {branch(run)} was moved to {at[:12] if at else at} by someone else",
                f"put it back: git update-ref refs/heads/{branch(run)} {base}",
            )
        if at != commit:
            self._move_branch(run, commit, at or "0" * 40)

    def _move_branch(self, run: str, commit: str, expected: str) -> None:
        self._clear_lock(run)
        self._git(
            "update-ref", "-m", f"workbench: {run}", f"refs/heads/{branch(run)}", commit, expected
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who adds or removes a worktree here: git reads what it knows of all of
        them when it adds one, and fails on one that is half written. A git that outlives us keeps
        the others waiting.
        """
        self.state.mkdir(exist_ok=True)
        with (self.state / "worktrees.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            kept, self.keep_open = self.keep_open, (*self.keep_open, file.fileno())
            try:
                yield
            finally:
                self.keep_open = kept

    def _clear_lock(self, run: str) -> None:
        """Remove the lock a killed git left on the branch, once a live one had time to end."""
        lock = Path(self.repo.common_dir) / "refs" / "heads" / f"{branch(run)}.lock"
        for _ in range(20):
            if not lock.exists():
                return
            time.sleep(0.05)
        lock.unlink(missing_ok=True)

    def _made(self, run: str) -> Path:
        return self.worktree(run).with_suffix(_MADE)

    def _git(
        self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> str:
        output = self._output(*arguments, stdin=stdin, env=env)
        return output.decode("utf-8", "surrogateescape").removesuffix("\n")

    def _output(
        self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> bytes:
        try:
            with tempfile.TemporaryFile() as file:
                file.write(stdin)
                file.seek(0)
                output = self.repo.git.execute(
                    [
                        "git",
                        *(part for setting in SETTINGS for part in ("-c", setting)),
                        *arguments,
                    ],
                    istream=file,
                    env={"GIT_OPTIONAL_LOCKS": "0", **(env or {})},
                    pass_fds=tuple(self.keep_open),
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                )
                return bytes(output)
        except git.GitCommandError as error:
            problem = str(error.stderr).strip().removeprefix("stderr:").strip(" '\n")
            raise RepositoryError(f"git {arguments[0]} failed in {self.root}: {problem}") from error


def branch(run: str) -> str:
    """Name of the run's branch."""
    return f"workbench/{run}"
