"""What a program tries in a sandbox to prove that it isolates; each probe returns what was possible, in words.

It is sent into the sandbox as a program is, and stands alone. `given` holds what the host knows: the limits, whether
the system call filter is on, the names of environment variables that belong there, and what must be out of reach.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
PR_GET_NO_NEW_PRIVS, CAPABILITY_VERSION = 39, 0x20080522
CLONE_NEWUSER, PTRACE_TRACEME, SYS_IO_URING_SETUP = 0x10000000, 0, 425
MOST_NUMBERS = 300  # process numbers that are looked at


def attempt(given: dict[str, Any]) -> list[str]:
    """The probe of that name."""
    found: list[str] = globals()[given["probe"]](given)
    return found


def network(given: dict[str, Any]) -> list[str]:
    import socket

    found = []
    with suppress(OSError):
        found += [f"see the network interface {name}" for _, name in socket.if_nameindex() if name != "lo"]
    with suppress(OSError), socket.create_connection(("127.0.0.1", given["port"]), 1):
        found.append("connect to a port of this machine")
    return found


def files(given: dict[str, Any]) -> list[str]:
    found = [f"read {path}" for path in given["out_of_reach"] if _can_open(path, os.O_RDONLY)]
    for place, others in _writable_mounts():
        for folder, folders, names in os.walk(place):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in others]
            probe = f"{folder}/probe"
            if _can_open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY):
                os.unlink(probe)
                found.append(f"create a file in {folder}")
            paths = (f"{folder}/{name}" for name in names)
            found += [f"write to {path}" for path in paths if _is_file(path) and _can_open(path, os.O_WRONLY)]
    knobs = ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern")
    found += [f"write to {path}" for path in knobs if _can_open(path, os.O_WRONLY)]
    return found


def _writable_mounts() -> Iterator[tuple[str, set[str]]]:
    """Where something is mounted that is not read-only, and what else is mounted; "/" where that cannot be told."""
    try:
        with open("/proc/self/mountinfo") as file:
            lines = [line.split() for line in file]
    except OSError:
        yield "/", set()
        return
    places = {line[4] for line in lines}
    for line in lines:
        options, kind, of_all = line[5].split(","), line[line.index("-") + 1], line[-1].split(",")
        if "ro" not in options and "ro" not in of_all and kind != "proc":
            yield line[4], places


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _can_open(path: str, flags: int) -> bool:
    try:
        os.close(os.open(path, flags))
    except OSError:
        return False
    return True


def processes(given: dict[str, Any]) -> list[str]:
    found = []
    if os.getppid() != 1:
        found.append("see the machine's own process numbers")
    others = set(range(2, MOST_NUMBERS)) - {os.getpid()}
    with suppress(OSError):
        listed = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {1, os.getpid()}
        found += [f"see the process {number} in /proc" for number in sorted(listed)[:1]]
    if not given["is_filtered"]:  # the filter answers this as if there were processes of somebody else
        found += [f"see the process {number}" for number in sorted(others) if _is_there(number)][:1]
    return found


def _is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def privileges(given: dict[str, Any]) -> list[str]:
    found = []
    if 0 in (*os.getresuid(), *os.getresgid(), *os.getgroups()):
        found.append("be root")
    if given["is_filtered"]:
        return found
    if LIBC.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        found.append("gain privileges by running a program that has them")
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    if LIBC.capget(header, sets) or any(sets):
        found.append("use capabilities")
    for name in ("setuid", "setgid"):
        with suppress(OSError):
            getattr(os, name)(0)
            found.append(f"call {name}(0)")
    return found


def secrets(given: dict[str, Any]) -> list[str]:
    found = [f"read the environment variable {name}" for name in sorted(set(os.environ) - set(given["environment"]))]
    for descriptor in range(3, 1024):
        with suppress(OSError):
            os.fstat(descriptor)
            found.append(f"use the open descriptor {descriptor}")
    return found


def memory(given: dict[str, Any]) -> list[str]:
    try:
        mmap.mmap(-1, given["memory"] + (128 << 20)).close()
    except (OSError, MemoryError):
        return []
    return ["take more memory than its limit"]


def threads(given: dict[str, Any]) -> list[str]:
    import threading

    end, most = threading.Event(), given["threads"]
    started: list[threading.Thread] = []
    try:
        while len(started) <= most:
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    end.set()
    for thread in started:
        thread.join()
    if len(started) > most:
        return [f"start more than {most} threads"]
    return [f"start only {len(started)} of {most} threads"] if len(started) < most else []


def forks(given: dict[str, Any]) -> list[str]:
    """Its processes end by themselves, in case nothing else ends them."""
    started: list[int] = []
    try:
        while len(started) <= given["threads"]:
            number = os.fork()
            if number == 0:
                signal.alarm(5)
                signal.pause()
                os._exit(0)
            started.append(number)
    except OSError:
        pass
    for number in started:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
    if given["is_filtered"] and started:
        return ["start a process"]
    return ["start processes without end"] if len(started) > given["threads"] else []


def forbidden(given: dict[str, Any]) -> list[str]:
    """System calls that only the filter keeps a program from; any other answer than its own means that it let one in."""
    import fcntl
    import resource
    import socket

    def refused(call: Callable[[], Any]) -> bool:
        try:
            return bool(call() == -1 and ctypes.get_errno() == errno.EPERM)
        except OSError as error:
            return error.errno == errno.EPERM
        except ValueError:  # so Python says that a limit may not be set
            return True

    calls = {
        "make a socket": lambda: socket.socket().close(),
        "send a signal": lambda: os.kill(os.getpid(), 0),
        "have a descriptor send a signal": lambda: fcntl.fcntl(1, fcntl.F_SETOWN, os.getpid()),
        "make a file in memory": lambda: os.close(os.memfd_create("probe")),
        "make a pipe": lambda: os.close(os.pipe()[0]),
        "set a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)),
        "trace": lambda: LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0),
        "make a namespace": lambda: LIBC.unshare(CLONE_NEWUSER),
        "set up io_uring": lambda: LIBC.syscall(SYS_IO_URING_SETUP, 1, 0),
        "run a program": lambda: os.execv("/", ["/"]),
    }
    return [name for name, call in calls.items() if not refused(call)]


def endless(given: dict[str, Any]) -> list[str]:
    while True:
        pass
