"""What a process in the sandbox can reach, and how it ends, at every level that works here."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench
from workbench.errors import UsageError
from workbench.judge.jail import Jail
from workbench.judge.sandbox import VARIABLE, Level, Sandbox, find
from workbench.worker import guard

REPOSITORY = Path(workbench.__file__).resolve().parent.parent
SECRET = "a-secret-of-the-judge"
# Opened, they hold their files back; the others say what they don't in `weaknesses`.
FILES_ARE_SAFE = {Level.BUBBLEWRAP, Level.LANDLOCK}
PROCESSES_ARE_SAFE = {*FILES_ARE_SAFE, Level.NAMESPACES}


def available(level: Level) -> Sandbox:
    try:
        return find(level)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(params=list(Level), ids=str)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return available(request.param)


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


class Programs:
    """Runs a program's text in a jail; every process of it carries `marker` in its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = f"marker-{secrets.token_hex(8)}"

    def jail(self, sandbox: Sandbox, text: str, *arguments: str, **options: Any) -> Jail:
        (self.folder / "program.py").write_text(dedent(text))
        path = [self.folder, Path(guard.__file__).parent]
        options.setdefault("deadline", time.monotonic() + 30)
        given = [*arguments, self.marker]
        return Jail("program", given, sandbox=sandbox, python_path=path, **options)

    def run(self, sandbox: Sandbox, text: str, *arguments: str, **options: Any) -> Jail:
        with self.jail(sandbox, text, *arguments, **options) as jail:
            assert jail.wait(40)
        return jail

    def answer(self, sandbox: Sandbox, text: str, *arguments: str, **options: Any) -> Any:
        """What the program printed as JSON."""
        jail = self.run(sandbox, text, *arguments, **options)
        assert jail.ending == "", jail.output
        return json.loads(jail.last_words())

    def left(self) -> list[int]:
        """The processes of these programs that still live."""
        return list(_processes_with(self.marker))


def _processes_with(marker: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:  # a dead one has no arguments
                if marker.encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)
            except OSError:
                continue


# ---- what it can reach


def test_files_of_the_repository_and_the_home_folder_cannot_be_opened(
    sandbox: Sandbox, programs: Programs
) -> None:
    if sandbox.level not in FILES_ARE_SAFE:
        pytest.skip(f"{sandbox.level}: {sandbox.weaknesses[0]}")
    home = [path for path in Path.home().iterdir() if path.is_file()]
    own = [REPOSITORY / "pyproject.toml", Path(__file__), Path(workbench.__file__)]
    tried = [str(path) for path in (*own, *home, programs.folder.parent)]
    opened = programs.answer(
        sandbox,
        """
        import json, os, sys
        opened = []
        for path in json.loads(sys.argv[1]):
            try:
                os.listdir(path) if os.path.isdir(path) else open(path).close()
                opened.append(path)
            except OSError:
                pass
        opened += [name for name in os.environ if "KEY" in name or "TOKEN" in name]
        print(json.dumps(opened))
        """,
        json.dumps(tried),
    )
    shown = [str(programs.folder.parent)] if sandbox.level is Level.BUBBLEWRAP else []
    assert set(opened) <= set(shown)  # an empty folder that leads to the programs


def test_the_judge_cannot_be_read_through_proc(sandbox: Sandbox, programs: Programs) -> None:
    if sandbox.level not in PROCESSES_ARE_SAFE:
        pytest.skip(f"{sandbox.level}: {sandbox.weaknesses[-1]}")
    held = ctypes.create_string_buffer(SECRET.encode())
    secret_file = programs.folder.parent / f"{programs.folder.name}-secret"
    secret_file.write_text(SECRET)
    with secret_file.open() as file:
        found = programs.answer(
            sandbox,
            """
            import json, os, sys
            judge, descriptor, address, environment, secret = json.loads(sys.argv[1])
            try:
                numbers = [name for name in os.listdir("/proc") if name.isdigit()]
            except OSError:
                numbers = []
            found = []
            def look(path, what, start=0):
                try:
                    with open(path, "rb") as file:
                        file.seek(start)
                        if what in file.read(max(len(what), 1)):
                            found.append(path)
                except (OSError, OverflowError):
                    pass
            for number in {*numbers, str(judge)}:
                look(f"/proc/{number}/environ", environment.encode())
                look(f"/proc/{number}/mem", secret.encode(), address)
                look(f"/proc/{number}/fd/{descriptor}", secret.encode())
                look(f"/proc/{number}/cwd/pyproject.toml", b"[")
            print(json.dumps(found))
            """,
            json.dumps(
                [
                    os.getpid(),
                    file.fileno(),
                    ctypes.addressof(held),
                    Path("/proc/self/environ").read_text()[:200] or "empty",
                    SECRET,
                ]
            ),
        )
    assert found == []


def test_there_is_no_network(sandbox: Sandbox, programs: Programs, tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        local.bind(str(programs.folder / "socket"))
        tcp.listen()
        local.listen()
        connected = programs.answer(
            sandbox,
            """
            import json, socket, sys
            port, path = json.loads(sys.argv[1])
            def tcp(): socket.create_connection(("127.0.0.1", port), timeout=2)
            def datagrams(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            def local(): socket.socket(socket.AF_UNIX).connect(path)
            def local_datagrams(): socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            def names(): socket.getaddrinfo("example.org", 80)
            def netlink(): socket.socket(socket.AF_NETLINK)
            connected = []
            for attempt in (tcp, datagrams, local, local_datagrams, names, netlink):
                try:
                    attempt()
                    connected.append(attempt.__name__)
                except OSError:
                    pass
            one, other = socket.socketpair()
            one.sendall(b"own")
            assert other.recv(3) == b"own"
            print(json.dumps(connected))
            """,
            json.dumps([tcp.getsockname()[1], str(programs.folder / "socket")]),
        )
    assert connected == []


def test_only_passed_descriptors_are_inherited(sandbox: Sandbox, programs: Programs) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Path(__file__).open() as other:
        os.set_inheritable(other.fileno(), True)
        inherited = programs.answer(
            sandbox,
            """
            import json, os
            found = []
            for number in range(3, 4096):
                try:
                    os.fstat(number)
                    found.append(number)
                except OSError:
                    pass
            print(json.dumps(found))
            """,
            pass_fds=[theirs.fileno()],
        )
        assert inherited == [theirs.fileno()]


def test_the_end_of_the_process_closes_what_was_passed(
    sandbox: Sandbox, programs: Programs
) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    text = "import os, socket, sys; socket.socket(fileno=int(sys.argv[1])).sendall(b'hello')"
    with ours, programs.jail(sandbox, text, str(theirs.fileno()), pass_fds=[theirs.fileno()]):
        theirs.close()
        assert ours.recv(9) == b"hello"
        assert ours.recv(9) == b""


def test_only_the_scratch_folder_can_be_written(sandbox: Sandbox, programs: Programs) -> None:
    if sandbox.level not in FILES_ARE_SAFE:
        pytest.skip(f"{sandbox.level}: {sandbox.weaknesses[0]}")
    kept = programs.folder / "kept"
    kept.write_text("as it was")
    kept.chmod(0o644)
    before = kept.stat()
    outside = ("/", "/dev", "/dev/shm", "/var/tmp", "/etc", "/usr", "/proc", REPOSITORY)
    folders = [str(path) for path in (*outside, programs.folder)]
    written, scratch = programs.answer(
        sandbox,
        """
        import json, os, sys
        folders, kept = json.loads(sys.argv[1])
        written = []
        def attempt(what, *arguments):
            try:
                what(*arguments)
                written.append([what.__name__, str(arguments[0])])
            except OSError:
                pass
        def create(folder):
            open(folder + "/written", "w").close()
            os.unlink(folder + "/written")
        for folder in folders:
            attempt(create, folder)
            attempt(os.mkdir, folder + "/made")
        attempt(os.truncate, kept, 0)
        attempt(os.chmod, kept, 0o777)
        attempt(os.utime, kept, (1, 1))
        attempt(os.unlink, kept)
        attempt(os.rename, kept, os.environ["TMPDIR"] + "/kept")
        attempt(os.link, kept, os.environ["TMPDIR"] + "/linked")
        for name in ("TMPDIR", "HOME", "TRITON_CACHE_DIR", "XDG_CACHE_HOME"):
            os.makedirs(os.environ[name], exist_ok=True)
            create(os.environ[name])
        assert os.getcwd() == os.environ["TMPDIR"]
        print(json.dumps([written, os.environ["TMPDIR"]]))
        """,
        json.dumps([folders, str(kept)]),
    )
    # What looks like ours may be a folder of its own scratch: bubblewrap's is /tmp.
    assert [path for _, path in written if not Path(path).is_relative_to(scratch)] == []
    assert [folder for folder in folders if (Path(folder) / "made").exists()] == []
    assert kept.read_text() == "as it was"
    assert (kept.stat().st_mode, kept.stat().st_mtime) == (before.st_mode, before.st_mtime)


def test_a_process_that_may_not_fork_starts_no_other(sandbox: Sandbox, programs: Programs) -> None:
    started = programs.answer(
        sandbox,
        """
        import json, os, subprocess, sys, threading
        started = []
        def program(): subprocess.run(["/bin/true"])
        def spawn(): os.posix_spawn("/bin/true", ["true"], {})
        def other(): os.execv("/bin/echo", ["echo", '["became another"]'])
        for attempt in (os.fork, program, spawn, other, os.setsid):
            try:
                attempt()
                started.append(attempt.__name__)
            except PermissionError:
                pass
        ran = []
        thread = threading.Thread(target=ran.append, args=[1])
        thread.start()
        thread.join()
        assert ran == [1]
        print(json.dumps(started))
        """,
    )
    assert started == []


def test_a_confined_child_cannot_reach_its_host(sandbox: Sandbox, programs: Programs) -> None:
    """The place of a candidate: a child of a process that forks."""
    reached, code = programs.answer(
        sandbox,
        """
        import fcntl, json, os, signal, socket, struct, sys
        import guard
        host, pair = os.getpid(), socket.socketpair()
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            guard.confine()
            reached = []
            def killed(): os.kill(host, 0)
            def killed_all(): os.kill(-1, 0)
            def killed_group(): os.kill(0, 0)
            def memory(): open(f"/proc/{host}/mem", "rb")
            def descriptors(): os.listdir(f"/proc/{host}/fd")
            def slowed(): os.setpriority(os.PRIO_PROCESS, host, 19)
            def descriptor(): os.pidfd_open(host)
            def file_signals(): fcntl.fcntl(0, fcntl.F_SETOWN, host)
            def socket_signals(): fcntl.ioctl(pair[0], 0x8901, struct.pack("i", host))
            for attempt in (
                killed, killed_all, killed_group, memory, descriptors, slowed, descriptor,
                file_signals, socket_signals, os.fork
            ):
                try:
                    attempt()
                    reached.append(attempt.__name__)
                except OSError:
                    pass
            os.listdir("/proc/self/task") if "landlock" in sys.argv[1] else None
            os.write(writing, json.dumps(reached).encode())
            os.abort()
        os.close(writing)
        answer = json.loads(os.read(reading, 9999))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([answer, code]))
        """,
        ",".join(sandbox.layers),
        fork=True,
    )
    allowed = set() if "landlock" in sandbox.layers else {"memory", "descriptors"}
    assert set(reached) <= allowed
    assert code == -signal.SIGABRT


def test_torch_runs_in_a_confined_child(sandbox: Sandbox, programs: Programs) -> None:
    total = programs.answer(
        sandbox,
        """
        import os, sys
        import torch, triton
        import guard
        child = os.fork()
        if not child:
            guard.confine()
            x = torch.ones(1000, requires_grad=True)
            (x * 2).sum().backward()
            print(int(x.grad.sum()), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        fork=True,
    )
    assert total == 2000


# ---- how it ends


def test_filling_the_disk_is_stopped(sandbox: Sandbox, programs: Programs) -> None:
    jail = programs.run(
        sandbox,
        """
        import os, sys, time
        try:
            for number in range(64):
                with open(os.environ["TMPDIR"] + f"/{number}", "wb") as file:
                    file.write(bytes(1 << 20))
        except OSError as error:
            sys.exit(3 if error.errno == 28 else 1)
        time.sleep(30)
        """,
        scratch_bytes=4 << 20,
    )
    own_size = sandbox.level is Level.BUBBLEWRAP  # its folder is full: the program's own error
    assert jail.ending == ("exited with 3" if own_size else "filled its disk")


def test_one_large_file_is_refused(sandbox: Sandbox, programs: Programs) -> None:
    text = """
        import os
        with open(os.environ["TMPDIR"] + "/large", "wb") as file:
            file.truncate(1 << 30)
        """
    jail = programs.run(sandbox, text, scratch_bytes=4 << 20)
    assert jail.ending == "exited with 1"
    assert "File too large" in jail.last_words()


def test_hogging_memory_is_stopped(sandbox: Sandbox, programs: Programs) -> None:
    """Together: half in a child, which shares nothing, half in shared memory."""
    text = """
        import mmap, os, time
        os.fork()
        private, shared = [], []
        for _ in range(40):
            private.append(bytearray(b"x" * (5 << 20)))
            shared.append(mmap.mmap(-1, 5 << 20))
            shared[-1].write(bytes(5 << 20))
            time.sleep(0.01)
        time.sleep(30)
        """
    jail = programs.run(sandbox, text, memory=300 << 20, fork=True)
    assert jail.ending == "took more than 300 MiB of memory"
    assert programs.left() == []


def test_hanging_runs_out_of_time(sandbox: Sandbox, programs: Programs) -> None:
    text = """
        import signal, time
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(60)
        """
    started = time.monotonic()
    jail = programs.run(sandbox, text, deadline=started + 0.7)
    assert jail.ending == "ran out of time"
    assert time.monotonic() - started < 10
    assert programs.left() == []


def test_a_fork_bomb_is_stopped(sandbox: Sandbox, programs: Programs) -> None:
    text = """
        import os, time
        for _ in range(8):  # 256 processes: as many as a test may risk
            time.sleep(0.02)
            os.fork()
        time.sleep(60)
        """
    jail = programs.run(sandbox, text, processes=16, fork=True)
    assert jail.ending == "started more than 16 processes"
    assert programs.left() == []


def test_a_daemon_does_not_outlive_the_program(sandbox: Sandbox, programs: Programs) -> None:
    text = """
        import os, time
        if not os.fork():
            try:
                os.setsid()
            except PermissionError:
                pass
            if os.fork():
                os._exit(0)
            time.sleep(60)
        os.wait()
        """
    jail = programs.run(sandbox, text, fork=True)
    assert jail.ending == ""
    assert programs.left() == []


def test_leaving_the_context_ends_it(sandbox: Sandbox, programs: Programs) -> None:
    text = "import os, time; os.fork(); print('up', flush=True); time.sleep(60)"
    with programs.jail(sandbox, text, fork=True) as jail:
        while jail.output.count("up") < 2:
            assert jail.running, jail.output
            time.sleep(0.01)
    assert not jail.running
    assert jail.ending == ""
    assert programs.left() == []


def test_when_the_judge_is_killed_nothing_is_left(sandbox: Sandbox, programs: Programs) -> None:
    (programs.folder / "program.py").write_text(
        "import os, time; os.fork(); os.fork(); print('up', flush=True); time.sleep(60)"
    )
    judge = f"""
        import sys, time
        from pathlib import Path
        from workbench.judge.sandbox import Jail, Level, find
        sandbox, folder = find(Level("{sandbox.level}")), Path("{programs.folder}")
        jail = Jail(
            "program", ["{programs.marker}"], sandbox=sandbox, python_path=[folder], fork=True
        )
        with jail:
            while jail.output.count("up") < 4 and jail.running:
                time.sleep(0.01)
            print(jail.running, flush=True)
            time.sleep(60)
        """
    command = [sys.executable, "-c", dedent(judge)]
    place = {**os.environ, "TMPDIR": str(programs.folder)}  # nobody is left to remove its scratch
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, env=place) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        assert len(programs.left()) >= 4
        process.kill()
    patience = time.monotonic() + 10
    while programs.left() and time.monotonic() < patience:
        time.sleep(0.02)
    assert programs.left() == []


def test_a_launcher_is_behind_the_walls_and_the_program_is_limited(
    sandbox: Sandbox, programs: Programs
) -> None:
    """As a profiler is; where there are no walls that end it with the judge, it does not start."""
    text = """
        import json, os, socket
        try:
            socket.socket(socket.AF_INET)
        except OSError:
            print(json.dumps([os.environ["LAUNCHED"], os.environ["WORKBENCH_LAYERS"]]))
        """
    if not sandbox.level.own_processes:
        with pytest.raises(UsageError, match="starts nothing through another program"):
            programs.run(sandbox, text, launcher=["env", "LAUNCHED=yes"])
        return
    launched, layers = programs.answer(sandbox, text, launcher=["env", "LAUNCHED=yes"])
    assert launched == "yes"
    assert "seccomp" in layers
    jail = programs.jail(sandbox, "import time; time.sleep(60)", launcher=["sh", "-c", "sleep 60"])
    with jail:
        pass
    assert programs.left() == []


@settings(max_examples=5, deadline=None)
@given(code=st.integers(1, 127))
def test_an_exit_is_named(code: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    jail = Programs(tmp_path_factory.mktemp("exit")).run(find(), f"import os; os._exit({code})")
    assert jail.ending == f"exited with {code}"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT", "SIGILL"])
def test_a_death_is_named(name: str, sandbox: Sandbox, programs: Programs) -> None:
    text = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    assert programs.run(sandbox, text).ending == f"killed by {name}"


def test_only_the_end_of_a_flood_is_kept(sandbox: Sandbox, programs: Programs) -> None:
    text = "import os\nfor _ in range(3000): os.write(1, b'x' * 4096)\nprint('\\nlast')"
    jail = programs.run(sandbox, text)
    assert jail.last_words() == "last"
    assert len(jail.output) <= 64 << 10


# ---- which level is taken


def test_the_record_says_what_is_in_force(sandbox: Sandbox) -> None:
    assert sandbox.level in str(sandbox)
    assert "seccomp" in str(sandbox)
    assert sandbox.level.statement.endswith(".")
    assert Sandbox.model_validate_json(sandbox.model_dump_json()) == sandbox


def test_the_strongest_level_is_taken() -> None:
    strongest = find()
    for level in Level:
        if level is strongest.level:
            break
        with pytest.raises(UsageError):
            find(level)


def test_the_variable_names_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    available(Level.SECCOMP)
    monkeypatch.setenv(VARIABLE, "seccomp")
    assert find().level is Level.SECCOMP
    monkeypatch.setenv(VARIABLE, "none")
    with pytest.raises(UsageError, match="landlock"):
        find()


def _found(level: str, **environment: str) -> str:
    """What a fresh process finds."""
    script = """
        from workbench.errors import UsageError
        from workbench.judge.sandbox import find
        try:
            print(find())
        except UsageError as error:
            print("no:", error)
        """
    command = [sys.executable, "-c", dedent(script)]
    given = {**os.environ, VARIABLE: level, **environment}
    return subprocess.run(
        command, env=given, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


def test_a_level_without_its_program_says_so() -> None:
    assert "bubblewrap: bwrap not installed" in _found("bubblewrap", PATH="/nowhere")


@pytest.mark.parametrize("level", sorted(FILES_ARE_SAFE))
def test_a_level_that_breaks_its_promise_is_not_taken(level: Level) -> None:
    """The probe's file is put where Python's own files are, which every sandbox can read."""
    available(level)
    if not os.access(sys.prefix, os.W_OK):
        pytest.skip(f"{sys.prefix} can't be written")
    folder = Path(sys.prefix) / f"probe-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        assert f"{level}: a process in it reads files" in _found(level, TMPDIR=str(folder))
    finally:
        folder.rmdir()
