"""The limits a process puts on itself before it runs code that nobody trusts. No privileges needed.

`python guard.py MODULE ARGUMENTS` runs a module under the limits that the variable `PLAN` names;
the judge's jail starts it so. Everything here is the kernel's work and can't be undone by the
process: resource limits, capabilities, Landlock (files, TCP, signals) and seccomp (system calls).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import runpy
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

PLAN = "WORKBENCH_JAIL"  # the arguments of `restrict`, and the process that must live on, in JSON
LAYERS = "WORKBENCH_LAYERS"  # what `restrict` returned, comma separated

# System calls by number, on x86_64 and aarch64; those from 424 on have one number everywhere.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # other processes' memory, descriptors and state
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "perf_event_open": (298, 241), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    # the kernel
    "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "personality": (135, 92),
    # what is mounted, and new namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # what Landlock leaves open: modes, owners, times and attributes of files
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "truncate": (76, 45),
    # leaving the group that is killed as one; memory that outlives its process
    "setsid": (112, 157), "setpgid": (109, 154), "shmget": (29, 194), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180),
    # allowed for some arguments
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "prlimit64": (302, 261),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "fcntl": (72, 25), "ioctl": (16, 29),
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435),
    "execve": (59, 221), "execveat": (322, 281),
}  # fmt: skip
_ARGUMENT_DEPENDENT = (
    *("socket", "socketpair", "prlimit64", "setpriority", "ioprio_set", "sched_setaffinity"),
    *("sched_setscheduler", "sched_setparam", "sched_setattr", "fcntl", "ioctl"),
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"),
    *("fork", "vfork", "clone", "clone3", "execve", "execveat"),
)
_NEVER = tuple(name for name in _NUMBERS if name not in _ARGUMENT_DEPENDENT)
_SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_UNKNOWN = 463  # the first system call not looked at: it and later ones don't exist
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_CLONE_THREAD, _CLONE_NEW = 0x10000, 0x7E020000
_AF_UNIX, _DATAGRAM = 1, 2  # the bit of SOCK_DGRAM and SOCK_RAW in a socket's type
# F_SETOWN, F_SETSIG, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP: files and sockets that signal a process.
_SIGNALLING = {"fcntl": (8, 10, 15), "ioctl": (0x8901, 0x8902)}

_PDEATHSIG, _DUMPABLE, _SECCOMP, _BOUNDING_DROP = 1, 4, 22, 24
_SUBREAPER, _NO_NEW_PRIVILEGES, _AMBIENT = 36, 38, 47

# What Python, torch and Triton read of /proc beside their own process.
_HARMLESS = "cpuinfo meminfo stat version filesystems devices driver sys"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

Instruction = tuple[int, int, int, int]
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000


def restrict(
    read: Sequence[str],
    write: Sequence[str],
    *,
    landlock: bool,
    fork: bool,
    file_bytes: int | None = None,
    files: int = 4096,
    data_bytes: int | None = None,
) -> tuple[str, ...]:
    """Limit this process, and all it will start, for good; returns the layers now in force.

    It may read below `read`, read and write below `write` (paths that don't exist are passed over),
    and use no network. With `fork` it may start processes and see all of /proc, and each child
    must `confine` itself before it runs code that isn't trusted; without, it is confined at once.

    Raises:
        OSError: a layer can't be put up here.
        RuntimeError: a thread is running, which would stay free.
    """
    _limit_resources(file_bytes, files, data_bytes)
    _drop_capabilities()
    layers = ["limits", "no capabilities"]
    die_with_parent(signal.SIGKILL)
    _prctl(_DUMPABLE, 0)
    _prctl(_NO_NEW_PRIVILEGES, 1)
    if landlock:
        _landlock(read, write, own=not fork)
        layers.append("landlock")
    _install([*_forbidden(), *_conditional()])
    layers.append("seccomp")
    if not fork:
        _install(_only_itself())
        forbid_processes()
    return tuple(layers)


def confine(*, fork: bool = False) -> None:
    """In a child of a process started with `fork`: the last step before a candidate is imported.

    From here it sees no process but itself, signals none, ends with its parent, and without `fork`
    starts none.

    Raises:
        OSError, RuntimeError: as `restrict`.
    """
    plan = json.loads(os.environ[PLAN])["restrict"]
    die_with_parent(signal.SIGKILL)
    if plan["landlock"]:
        _landlock(plan["read"], plan["write"], own=True)
    _install(_only_itself())
    if not fork:
        forbid_processes()


def forbid_processes() -> None:
    """From here on this process starts no other and becomes no other program; threads it may."""
    no = [*_always("fork"), *_always("vfork"), *_always("execve"), *_always("execveat")]
    _install([*no, *_when("clone", 0, _CLONE_THREAD, allow=True)])


def landlock_version() -> int:
    """The version of Landlock in this kernel, 0 where there is none."""
    return max(0, int(_libc.syscall(444, None, ctypes.c_size_t(0), 1)))


# ---- resources and privileges


def _limit_resources(file_bytes: int | None, files: int, data_bytes: int | None) -> None:
    # Never the address space: CUDA reserves far more than it uses.
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_DATA: data_bytes,
    }
    for limit, value in limits.items():
        if value is not None:
            most = resource.getrlimit(limit)[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(limit, (value, value))
    with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - a small, fast start
        file.write("1000")  # out of memory, the kernel ends this process and no other


def _drop_capabilities() -> None:
    capability = 0
    while _libc.prctl(_BOUNDING_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    _libc.prctl(_AMBIENT, 4, 0, 0, 0)
    header = struct.pack("Ii", 0x20080522, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


def die_with_parent(number: int) -> None:
    """Get this signal when the thread that started this process is gone."""
    _prctl(_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


# ---- files


def _landlock(read: Iterable[str], write: Iterable[str], *, own: bool) -> None:
    """`own`: of /proc only this process and the machine's facts; else all of it."""
    _check_alone()
    version = landlock_version()
    if not version:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock")
    every = (1 << 13) - 1
    every |= sum(1 << bit for bit, since in ((13, 2), (14, 3), (15, 5)) if version >= since)
    tcp, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = struct.pack("QQQ", every, tcp, scope)[:size]
    rules = _check(_libc.syscall(444, attributes, ctypes.c_size_t(size), 0), "landlock")
    harmless = [f"/proc/{name}" for name in _HARMLESS.split()]
    read = [*read, *harmless] if own else list(read)
    write = [*write, "/proc/self" if own else "/proc"]
    looking = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a folder
    for path in read:
        _allow(rules, path, looking)
    for path in write:
        _allow(rules, path, every)
    _check(_libc.syscall(446, rules, 0), "landlock")
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    of_files = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):
        return
    rights &= -1 if os.path.isdir(path) else of_files  # noqa: PTH112
    rule = struct.pack("=Qi", rights, descriptor)
    _check(_libc.syscall(445, rules, 1, rule, 0), f"landlock {path}")
    os.close(descriptor)


def _check_alone() -> None:
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        raise RuntimeError("a thread is running, and would not be limited")


# ---- system calls


def _forbidden() -> list[Instruction]:
    refused = [step for name in _NEVER for step in _always(name)]
    # Without clone3, whose arguments a filter can't see, the C library falls back to clone.
    return [*refused, *_always("clone3", errno.ENOSYS)]


def _conditional() -> list[Instruction]:
    """Sockets in pairs, its own priority and limits, no new namespaces, no signals by files."""
    steps = [*_when("clone", 0, _CLONE_NEW, allow=False)]
    for name in ("socket", "socketpair"):
        steps += [*_unless(name, 0, _AF_UNIX), *_when(name, 1, _DATAGRAM, allow=False)]
    for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam"):
        steps += _unless(name, 0, 0)
    steps += _unless("sched_setattr", 0, 0)
    for name in ("setpriority", "ioprio_set"):
        steps += _unless(name, 1, 0)
    for name, commands in _SIGNALLING.items():
        for command in commands:
            steps += _on_argument(name, 1, (_EQUAL, 0, 1, command))
    return steps


def _only_itself() -> list[Instruction]:
    return [step for name in _SIGNALS for step in _unless(name, 0, os.getpid())]


def _always(name: str, error: int = errno.EPERM) -> list[Instruction]:
    number = _number(name)
    return [] if number is None else [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | error)]


def _unless(name: str, argument: int, value: int) -> list[Instruction]:
    """The call fails unless an argument has this value."""
    return _on_argument(name, argument, (_EQUAL, 1, 0, value))


def _when(name: str, argument: int, bits: int, *, allow: bool) -> list[Instruction]:
    """The call is allowed, or else refused, when an argument has any of these bits."""
    return _on_argument(name, argument, (_ANY_BIT, int(allow), int(not allow), bits))


def _on_argument(name: str, argument: int, test: Instruction) -> list[Instruction]:
    number = _number(name)
    if number is None:
        return []
    fail, load_again = (_RETURN, 0, 0, _FAIL | errno.EPERM), (_LOAD, 0, 0, 0)
    return [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, 16 + 8 * argument), test, fail, load_again]


def _number(name: str) -> int | None:
    return _NUMBERS[name][_architecture()[0]]


def _architecture() -> tuple[int, int]:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    return _ARCHITECTURES[machine]


def _install(steps: Sequence[Instruction]) -> None:
    start: list[Instruction] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _architecture()[1]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _UNKNOWN),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    program = [*start, *steps, (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    _check(_libc.prctl(_SECCOMP, 2, header, 0, 0), "seccomp")


# ---- the process that is jailed, and the one that waits for it


def main() -> None:
    """Fork; the child is limited and runs the module, the parent ends all when it must."""
    plan = json.loads(os.environ[PLAN])
    signal.signal(signal.SIGTERM, _end_all)
    die_with_parent(signal.SIGTERM)
    if plan["parent"] not in (0, os.getppid()):
        _end_all()
    _prctl(_SUBREAPER, 1)
    child = os.fork()
    if child:
        _wait_for(child)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ[LAYERS] = ",".join(restrict(**plan["restrict"]))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _wait_for(child: int) -> NoReturn:
    _prctl(_DUMPABLE, 0)  # not before: the child's own files in /proc would be root's
    os.closerange(3, 1 << 16)  # the descriptors are the child's: they must end with it
    while True:
        process, status = os.wait()
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _end_all(*_: Any) -> NoReturn:
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
