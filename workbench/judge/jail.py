"""A Python module run behind walls, watched, and ended with everything it started."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workbench.errors import UsageError
from workbench.judge.walls import LANDLOCK, Level, Sandbox, Walls, environment
from workbench.text import printable
from workbench.worker import guard

GIB = 1 << 30

_POLL_SECONDS = 0.05
_DYING_SECONDS = 20.0
_KEPT_BYTES = 64 << 10
_MOST_THREADS = 4096
# Walking a scratch folder may take this share of the time.
_WALK_SHARE = 0.1


def default_memory(most: int = 8 * GIB) -> int:
    """`most`, or half of the machine's memory where that is less."""
    return min(most, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


class Jail:
    """`python -P -m MODULE ARGUMENTS` in a sandbox. Leaving the context ends all of it.

    It can read `python_path` (its PYTHONPATH), `read` and Python's own folders, and write its
    scratch folder, `$TMPDIR`, of `scratch_bytes` and nothing else. Of this process's descriptors it
    has `pass_fds`. With `fork` the module may start processes; each child it forks must call
    `workbench.worker.guard.confine` before it runs a candidate's code. Without, it may not.
    `launcher` is a command to start it through, such as a profiler: behind the same walls, but
    without the limits that the module's process then puts on itself.

    A thread of this process watches it, and ends it all at `deadline` (as `time.monotonic` counts;
    it may be moved), or when it holds more than `memory` bytes, `processes` processes or its
    scratch's size. `ending` says why it ended. If this process is killed, the kernel ends it.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        sandbox: Sandbox,
        python_path: Sequence[Path] = (),
        read: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        launcher: Sequence[str] = (),
        fork: bool = False,
        gpu: bool = False,
        scratch_bytes: int = GIB,
        memory: int | None = None,
        processes: int = 64,
        deadline: float | None = None,
    ) -> None:
        self.deadline = deadline
        self._launcher, self._module = list(launcher), [module, *arguments]
        self._sandbox, self._gpu, self._fork = sandbox, gpu, fork
        self._python_path, self._read = list(python_path), list(read)
        self._environment, self._pass_fds = dict(environment or {}), list(pass_fds)
        self._scratch_bytes, self._processes = scratch_bytes, processes
        self._memory = memory or default_memory()
        self._output = bytearray()
        self._ending = ""
        self._failure: OSError | None = None
        self._started, self._ended = threading.Event(), threading.Event()
        self._walked = 0.0

    def __enter__(self) -> Jail:
        """Start it.

        Raises:
            UsageError: the level's program can't be started, or has no walls for a launcher.
        """
        if self._launcher and not self._sandbox.level.own_processes:
            # What came between would outlive the judge: nothing but the walls could end it.
            level = self._sandbox.level
            raise UsageError(f"the sandbox '{level}' starts nothing through another program")
        self._stop = os.eventfd(0)
        # The thread that starts the process is the one whose end would end it.
        self._thread = threading.Thread(target=self._live, name="jail", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure:
            self.__exit__()
            raise UsageError(f"the sandbox can't start: {self._failure}")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self._stop)

    @property
    def ending(self) -> str:
        """Why it ended, in words that follow its name; "" while it runs, or if nothing is wrong."""
        return self._ending if self._ended.is_set() else ""

    @property
    def running(self) -> bool:
        """Whether any of it may still be there."""
        return not self._ended.is_set()

    @property
    def output(self) -> str:
        """The end of what it wrote to stdout and stderr."""
        return self._output.decode(errors="replace")

    def last_words(self) -> str:
        """The last line it wrote, fit to print; before a stack of C++'s, the exception's."""
        lines = self.output.strip().splitlines()
        thrown = [line.strip() for line in lines if line.lstrip().startswith("what():")]
        return printable((thrown or lines)[-1]) if lines else ""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all of it has ended; whether it has."""
        return self._ended.wait(timeout)

    def kill(self) -> None:
        """End it now, and wait until nothing of it is left."""
        if not self._ended.is_set():
            os.eventfd_write(self._stop, 1)
        self._thread.join()

    # ---- the thread that starts, watches and ends it

    def _live(self) -> None:
        try:
            with self._scratch() as scratch:
                process = self._start(scratch)
                self._started.set()
                try:
                    self._watch(process, scratch)
                except Exception as error:  # what nobody watched is not believed
                    self._ending = f"could not be watched ({error!r})"
                finally:
                    self._end(process)
        except OSError as error:
            self._failure = error
            self._ending = f"could not be run ({error})"
        finally:
            self._started.set()
            self._ended.set()

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        if self._sandbox.level is Level.BUBBLEWRAP:
            yield Path("/tmp")
            return
        folder = tempfile.mkdtemp(prefix="workbench-")
        try:
            yield Path(folder).resolve()
        finally:  # by a program that no depth of folders defeats
            subprocess.run(["rm", "-rf", "--", folder], check=False, stderr=subprocess.DEVNULL)

    def _start(self, scratch: Path) -> subprocess.Popen[bytes]:
        read = [*self._python_path, *self._read]
        walls = Walls(self._sandbox.level, read, scratch, self._scratch_bytes, self._gpu)
        more, gpu = self._environment, self._gpu
        settings = environment(scratch, self._python_path, more, gpu=gpu)
        python = [sys.executable, "-P", guard.__file__]
        arguments = os.memfd_create("arguments")
        try:
            os.write(arguments, b"".join(os.fsencode(a) + b"\0" for a in walls.arguments()))
            os.lseek(arguments, 0, os.SEEK_SET)
            own = [arguments] if self._sandbox.level is Level.BUBBLEWRAP else []
            return subprocess.Popen(
                [*walls.command(arguments), *self._launcher, *python, *self._module],
                cwd="/" if own else scratch,
                env={**settings, guard.PLAN: self._plan(walls)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[*own, *self._pass_fds],
                start_new_session=True,
            )
        finally:
            os.close(arguments)

    def _plan(self, walls: Walls) -> str:
        restrict = {
            "read": walls.readable(),
            "write": walls.writable(),
            "landlock": LANDLOCK in self._sandbox.layers,
            "fork": self._fork,
            "file_bytes": self._scratch_bytes,
        }
        parent = 0 if self._sandbox.level.own_processes else os.getpid()
        return json.dumps({"parent": parent, "restrict": restrict})

    def _watch(self, process: subprocess.Popen[bytes], scratch: Path) -> None:
        """Until it ends, is stopped, or breaks a limit."""
        assert process.stdout
        output = process.stdout.fileno()
        events = select.poll()
        events.register(output, select.POLLIN)
        events.register(self._stop, select.POLLIN)
        pause, checked = _POLL_SECONDS, 0.0
        while not self._ending and not _has_exited(process.pid):
            ready = [descriptor for descriptor, _ in events.poll(1000 * pause)]
            if output in ready and not self._keep(os.read(output, _KEPT_BYTES)):
                events.unregister(output)
                pause = _POLL_SECONDS / 10  # closed: most likely it is about to be gone
            if self._stop in ready:
                return
            if time.monotonic() >= checked + _POLL_SECONDS:
                self._ending = self._breach(process.pid, scratch)
                checked = time.monotonic()

    def _keep(self, text: bytes) -> int:
        self._output += text
        del self._output[:-_KEPT_BYTES]
        return len(text)

    def _breach(self, pid: int, scratch: Path) -> str:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "ran out of time"
        processes = _descendants(pid, self._processes)
        if len(processes) > self._processes:
            return f"started more than {self._processes} processes"
        threads, memory = _threads_and_memory(processes)
        if threads > _MOST_THREADS:
            return f"started more than {_MOST_THREADS} threads"
        if memory > self._memory:
            return f"took more than {_size(self._memory)} of memory"
        if _machine_is_full():
            return "took the machine's last memory"
        return "filled its disk" if self._disk_is_full(scratch) else ""

    def _disk_is_full(self, scratch: Path) -> bool:
        """Bubblewrap's scratch folder has its size; elsewhere the files are counted."""
        if self._sandbox.level is Level.BUBBLEWRAP or time.monotonic() < self._walked:
            return False
        started = time.monotonic()
        full = _takes_more_than(self._scratch_bytes, scratch)
        self._walked = time.monotonic() + (time.monotonic() - started) / _WALK_SHARE
        return full

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the group, which nothing in it can leave; name how it ended if it did by itself."""
        exited = _has_exited(process.pid)
        patience = time.monotonic() + _DYING_SECONDS
        # Not yet waited for, the process still holds the group's number.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        while left := _in_session(process.pid):
            if time.monotonic() > patience:
                self._ending = f"can't be killed: {left}"
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        code = process.wait()
        if exited and not self._ending:
            self._ending = _say(code)
        assert process.stdout
        with process.stdout as output:
            while self._keep(os.read(output.fileno(), _KEPT_BYTES)):
                pass


def _has_exited(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _say(code: int) -> str:
    number = -code if code < 0 else code - 128
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(number).name}"
    return f"exited with {code}" if code else ""


def _size(number: int) -> str:
    return f"{number / GIB:.3g} GiB" if number >= GIB else f"{number >> 20} MiB"


# ---- what /proc says


def _descendants(pid: int, most: int) -> list[int]:
    """The process and all below it, up to the first over `most`."""
    if not Path("/proc/thread-self/children").exists():
        return _in_session(pid)
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        if len(found) > most:
            break
    return found


def _threads_and_memory(processes: Sequence[int]) -> tuple[int, int]:
    """Threads, and bytes that are in no file, of all these processes."""
    threads = memory = 0
    for process in processes:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            facts = dict(line.split(":", 1) for line in status.splitlines())
            threads += int(facts["Threads"])
            counted = ("RssAnon", "RssShmem", "VmSwap") if "RssAnon" in facts else ("VmRSS",)
            memory += 1024 * sum(int(facts.get(name, "0").split()[0]) for name in counted)
    return threads, memory


def _machine_is_full() -> bool:
    """Memory that is in no process's count (files in memory, unmapped) still shows here."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(facts[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return available < total / 50


def _takes_more_than(most: int, folder: Path) -> bool:
    """Whether the files take more; also when the file system itself is almost full."""
    if shutil.disk_usage(folder).free < min(GIB // 4, most):
        return True
    folders, taken = [str(folder)], 0
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    taken += max(512 * entry.stat(follow_symlinks=False).st_blocks, 4096)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
        if taken > most:
            return True
    return False


def _in_session(session: int) -> list[int]:
    """Every process of a session that isn't dead yet."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(of) == session and state not in "ZX":
                    found.append(int(entry.name))
    return found
