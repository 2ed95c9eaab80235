"""The program inside every sandbox: imports numpy once, then gives each program a fresh process of its own.

It stands alone (the standard library and numpy, nothing of Gristmill) and is run as a script in the box. A child is
forked ahead and waits; it reads one request from the host itself, so that nothing of one program is ever in the memory
that the next one is forked from. The parent knows of a request only its header, and with it what it takes to end it: it
counts the child's CPU time, the clock and what is printed, and kills. Results come back through shared memory without a
descriptor, what is printed goes into memory of the parent's; it passes both on as bytes without looking into them, and
lets go of both before it forks again.

The wire, all little-endian. A request is HEADER and a JSON body {"program", "function", "inputs"}. A reply is REPLY,
then the frames of the results, then what was printed. A frame is FRAME and its payload: a value as JSON, or a line.
What a program hands over here may be forged, by itself and about itself: the host checks it all.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import importlib
import json
import math
import mmap
import os
import resource
import select
import signal
import struct
import sys
import time
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

# body bytes, inputs, CPU seconds, wall seconds, memory, threads, output bytes, result bytes, open files, flags
HEADER = struct.Struct("<IIddQIQQII")
NO_FILTER = 1  # flag: without the system call filter, by which the start-up test sees what the box alone forbids
# frames' bytes, printed bytes, how it ended, wait status, CPU seconds, wall seconds, the phase it was in
REPLY = struct.Struct("<IIIiddi")
HOW = ENDED, TIMEOUT, OUTPUT = range(3)
# input (-1: the definition), status, payload bytes, CPU seconds, wall seconds
FRAME = struct.Struct("<iIIdd")
OK, WRONG_TYPE, EXCEPTION, MEMORY, RESULT_LIMIT = range(5)
READY = b"gristmill sandbox 1\n"

# The shared memory: this head, then the frames.
# phase (0 reading, 1 defining, 2 + input), frames' bytes, CPU seconds and clock at the phase's start
STATE = struct.Struct("<iIdd")
HEAD = 64
MESSAGE = 300  # characters of a message
DEEPEST = 64  # levels of a result
PIPE = 1 << 16  # bytes that a pipe holds
LONGEST_WAIT = 3600.0  # seconds; poll counts milliseconds in 32 bits

# Exit statuses of a child that has not run a program.
HOST_HAS_GONE, NO_FILTER_TO_BE_HAD, DEFECT = 100, 101, 102

# What programs of this kind import; a child finds them loaded. Only what brings few shared libraries: every mapping of
# the parent is copied for every child, and random alone would make a fork a tenth slower.
PRELOADED = (
    "bisect", "collections", "copy", "dataclasses", "enum", "functools", "heapq", "itertools", "operator", "re",
    "string", "typing",
)  # fmt: skip

# Of Python's allocator: the bytes of a pool of equal blocks, and those before its first block.
POOL, POOL_HEAD = 1 << 14, 48
BLOCKS = range(48, 513, 16)  # bytes of the blocks that pools are of, from the least that an object of bytes takes
MOST_HOLES = 4096  # of one size that are filled; there are some dozens

REHEARSALS = 20  # after which Python has settled how it runs a function that it runs often
REHEARSED = {
    "program": "def transform(grid):\n    result = [row[::-1] for row in grid]\n    return result\n",
    "function": "transform",
    "inputs": [[[1, 2], [3, 4]]],
}

numpy: Any = None  # the module, where the sandbox has it


class WrongType(Exception):
    """A result that is no JSON value."""


class TooLarge(Exception):
    """A result with more in it than it may have."""


def plain(value: Any, room: list[int], depth: int = 0) -> Any:
    """The value as plain JSON data: exact types only, arrays and numpy numbers as Python's own.

    `room` is a list with the number of values that may still come.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if not -(1 << 63) <= value < 1 << 64:
            raise WrongType("an integer of more than 64 bits")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise WrongType(f"{value} is no JSON number")
        return value
    if depth >= DEEPEST:
        raise WrongType("nested too deeply, or in a circle")
    if kind is list or kind is tuple:
        take(room, len(value))
        return [plain(each, room, depth + 1) for each in value]
    if kind is dict:
        take(room, len(value))
        if not all(type(key) is str for key in value):
            raise WrongType("an object's keys have to be strings")
        return {key: plain(each, room, depth + 1) for key, each in value.items()}
    if numpy is not None and kind.__module__ == "numpy":
        if kind is numpy.ndarray:
            if value.size > room[0]:  # before it is made a list, which is counted
                raise TooLarge
            return plain(numpy.ndarray.tolist(value), room, depth + 1)
        if isinstance(value, (numpy.integer, numpy.floating, numpy.bool_)):
            item = value.item()
            if type(item) is not kind:  # a longdouble has no other form
                return plain(item, room, depth + 1)
    raise WrongType(f"{kind.__name__} is no JSON value")


def take(room: list[int], count: int) -> None:
    """Count values; raises TooLarge where there are more than may be."""
    room[0] -= count
    if room[0] < 0:
        raise TooLarge


def describe(error: BaseException) -> str:
    """An exception in one line, with the line of the program; whatever its own methods do."""
    name, text, line = "an exception", "<unprintable>", None
    try:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "program.py":
                line = trace.tb_lineno
            trace = trace.tb_next
        name = str.__str__(type(error).__name__)
        text = " ".join(str.split(str.__getitem__(str(error), slice(4 * MESSAGE))))[:MESSAGE]
    except BaseException:
        pass
    where = "" if line is None else f" (line {line})"
    return f"{name}: {text}{where}" if text else f"{name}{where}"


class Results:
    """Writes frames into the shared memory, and the phase that the program is in."""

    def __init__(self, shared: mmap.mmap) -> None:
        self.shared, self.used = shared, 0

    def enter(self, phase: int, cpu: float, clock: float) -> None:
        # Copied in one piece: `pack_into` fills with zeros first, and the parent would read a clock that began at 0.
        self.shared[: STATE.size] = STATE.pack(phase, self.used, cpu, clock)

    def add(self, index: int, status: int, payload: bytes, cpu: float, wall: float) -> None:
        start = HEAD + self.used
        FRAME.pack_into(self.shared, start, index, status, len(payload), cpu, wall)
        start += FRAME.size
        self.shared[start : start + len(payload)] = payload
        self.used += FRAME.size + len(payload)


def told(error: BaseException) -> tuple[int, bytes]:
    """The status and the message of an exception of the program."""
    if isinstance(error, MemoryError):
        return MEMORY, b"MemoryError"
    return EXCEPTION, describe(error).encode("utf-8", "replace")


ENCODE = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
# Text and where its value begins, to the value and where it ends. Unlike `loads` all in C: a child pays for each page
# of the parent's that it touches.
DECODE: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def call(
    function: Callable[[Any], Any], value: Any, limit: int, encode: Callable[[Any], str] = ENCODE
) -> tuple[int, bytes]:
    """One input through the program: the status, and the payload of the frame."""
    try:
        result = function(value)
        payload = encode(plain(result, [limit])).encode("ascii")
        if len(payload) > limit:
            raise TooLarge
        return OK, payload
    except WrongType as error:
        return WRONG_TYPE, str(error)[:MESSAGE].encode("utf-8", "replace")
    except TooLarge:
        return RESULT_LIMIT, b"the result is too large"
    except BaseException as error:
        return told(error)


def define(source: str, name: str) -> Callable[[Any], Any]:
    """The program's function. Raises whatever the program raises."""
    module = types.ModuleType("program")
    sys.modules["program"] = module
    exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__)
    function: Callable[[Any], Any] | None = module.__dict__.get(name)
    if function is None:
        raise NameError(f"the program does not define {name}")
    return function


def run(
    request: dict[str, Any],
    limit: int,
    shared: mmap.mmap,
    cpu_clock: Callable[[], float] = time.process_time,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Define the program and call it with every input, leaving a frame for each."""
    results = Results(shared)
    before, began = cpu_clock(), clock()
    results.enter(1, before, began)
    try:
        function = define(request["program"], request["function"])
    except BaseException as error:
        status, payload = told(error)
        results.add(-1, status, payload, cpu_clock() - before, clock() - began)
        results.enter(1, before, began)
        return
    for index, value in enumerate(request["inputs"]):
        before, began = cpu_clock(), clock()
        results.enter(2 + index, before, began)
        status, payload = call(function, value, limit)
        results.add(index, status, payload, cpu_clock() - before, clock() - began)
    results.enter(2 + len(request["inputs"]), cpu_clock(), clock())


# The child, before the program has the word


def read_exactly(descriptor: int, size: int) -> bytes:
    """So many bytes, or fewer where the host has gone."""
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class Filter(ctypes.Structure):
    """struct sock_fprog of the kernel: a program of 8-byte instructions."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def most_cpu(seconds: float, inputs: int) -> int:
    """The CPU seconds after which the kernel ends a process by itself, whatever became of its parent."""
    return math.ceil(seconds * (inputs + 1)) + 1


def confine(header: Sequence[Any], setup: Setup) -> None:
    """Take from this process what the program must not have; nothing of it can be taken back."""
    _, inputs, cpu, _, memory, threads, _, _, files, flags = header
    limit = setup.own_memory + setup.shared_bytes + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    cpu_limit = most_cpu(cpu, inputs)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit, cpu_limit))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if setup.processes is not None:
        processes = setup.processes + threads
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    if setup.filter.length and not flags & NO_FILTER:
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
        if setup.libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(setup.filter), 0, 0):
            os._exit(NO_FILTER_TO_BE_HAD)


def child(setup: Setup, shared: mmap.mmap, output: int) -> NoReturn:
    """Wait for a request, run its program, end."""
    raw = read_exactly(setup.host_in, HEADER.size)
    if len(raw) < HEADER.size:
        os._exit(HOST_HAS_GONE)
    header = HEADER.unpack(raw)
    body = read_exactly(setup.host_in, header[0])
    if len(body) < header[0]:
        os._exit(HOST_HAS_GONE)
    request = DECODE(body.decode(), 0)[0]
    os.dup2(setup.nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 256)
    os.setsid()
    if not setup.is_first_process:  # with which everything ends in any case
        PR_SET_PDEATHSIG = 1
        setup.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != setup.pid:  # it has ended already
            os._exit(HOST_HAS_GONE)
    gc.enable()
    confine(header, setup)
    Results(shared).enter(1, time.process_time(), time.monotonic())
    # From here on the parent counts. It learns the limits this way, and not from the shared memory, since the program
    # could be quicker there than the parent.
    os.write(1, raw)
    del raw, body, setup
    run(request, header[7], shared)
    for stream in (sys.__stdout__, sys.__stderr__):
        flush(stream)
    os._exit(0)


def flush(stream: Any) -> None:
    """Without more than its output cut short where that does not work: the results stand."""
    try:
        stream.flush()
    except BaseException:
        return


# The parent


def cpu_seconds_of(pid: int) -> float:
    """What a process has used of CPU time; 0 once it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the kernel's number for a process's CPU clock
    except OSError:
        return 0.0


class Printed:
    """What a program prints, up to `room` bytes, in memory that is taken with the first of it and given back at once.

    The parent's own heap never holds any of it: the next child is forked from that.
    """

    def __init__(self, room: int) -> None:
        self.room, self.size = room, 0
        self.buffer: mmap.mmap | None = None

    def take(self, descriptor: int) -> bool:
        """Read what is there; False at the end."""
        if self.buffer is None:
            self.buffer = mmap.mmap(-1, self.room + PIPE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with memoryview(self.buffer) as view, view[self.size : self.size + PIPE] as part:
            count = os.readv(descriptor, [part])
        self.size += count
        return count > 0

    @property
    def is_too_much(self) -> bool:
        return self.size > self.room

    def send_after(self, descriptor: int, head: bytes, frames: memoryview) -> None:
        """Send the head of a reply, the frames, and what was printed."""
        if self.buffer is None:
            write_all(descriptor, head, frames)
            return
        with memoryview(self.buffer) as view, view[: min(self.size, self.room)] as text:
            write_all(descriptor, head, frames, text)
        self.buffer.close()


def watch(setup: Setup, pid: int, pidfd: int, output: int, shared: mmap.mmap, header: Sequence[Any]) -> Watched:
    """Wait for the end of a program, or make it."""
    _, inputs, cpu_limit, wall_limit, _, _, room, _, _, _ = header
    began, first_cpu, printed = time.monotonic(), cpu_seconds_of(pid), Printed(room)
    poller = select.poll()
    poller.register(setup.host_in, 0)  # nothing but its end
    poller.register(pidfd, select.POLLIN)
    poller.register(output, select.POLLIN)
    while True:
        state = shared[: STATE.size]
        _, _, cpu_then, clock_then = STATE.unpack(state)
        cpu, clock = cpu_seconds_of(pid), time.monotonic()
        left_for_this = min(cpu_limit - (cpu - cpu_then), wall_limit - (clock - clock_then))
        # The program may lie about when an input began: all of them together end in any case.
        left_for_all = min(cpu_limit * (inputs + 1) - (cpu - first_cpu), wall_limit * (inputs + 1) - (clock - began))
        if not left_for_this > 0 and left_for_all > 0 and state != shared[: STATE.size]:
            continue  # this one began before the last look, and was over when the clocks were read
        left = min(left_for_this, left_for_all, LONGEST_WAIT)
        if not left > 0:
            return Watched(TIMEOUT, printed, clock - began)
        ready = [descriptor for descriptor, _ in poller.poll(math.ceil(left * 1000))]
        if setup.host_in in ready:
            raise HostHasGone
        if output in ready:
            if not printed.take(output):
                poller.unregister(output)
            if printed.is_too_much:
                return Watched(OUTPUT, printed, time.monotonic() - began)
        elif pidfd in ready:
            return Watched(ENDED, printed, time.monotonic() - began)


class Watched:
    """How a program ended, what it printed, and its seconds on the clock."""

    def __init__(self, how: int, printed: Printed, wall: float) -> None:
        self.how, self.printed, self.wall = how, printed, wall


class HostHasGone(Exception):
    """Nobody is there for the answer."""


def serve_one(setup: Setup) -> None:
    """Fork a child, let it take the next request, and answer for it. Raises HostHasGone."""
    # Room for what a request may have at most; memory that nobody touches costs nothing.
    shared = mmap.mmap(-1, setup.shared_bytes)
    output, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(output)
        try:
            child(setup, shared, into)
        finally:
            os._exit(DEFECT)
    os.close(into)
    pidfd = os.pidfd_open(pid)
    try:
        header = read_exactly(output, HEADER.size)
        if len(header) < HEADER.size:
            raise_for_early_end(os.waitpid(pid, 0)[1])
        watched = watch(setup, pid, pidfd, output, shared, HEADER.unpack(header))
        end_all(pid)
        _, status, usage = os.wait4(pid, 0)
        if setup.is_first_process:
            reap_all()
        phase, used, _, _ = STATE.unpack_from(shared)
        used = min(used, len(shared) - HEAD)
        printed = min(watched.printed.size, watched.printed.room)
        cpu = usage.ru_utime + usage.ru_stime
        reply = REPLY.pack(used, printed, watched.how, status, cpu, watched.wall, phase)
        with memoryview(shared) as view, view[HEAD : HEAD + used] as frames:
            watched.printed.send_after(setup.host_out, reply, frames)
    except BaseException:
        end_all(pid)
        raise
    finally:
        os.close(pidfd)
        os.close(output)
        shared.close()


def raise_for_early_end(status: int) -> NoReturn:
    """A child that ended before it ran a program: the host is gone, or there is a defect."""
    code = os.waitstatus_to_exitcode(status)
    if code == HOST_HAS_GONE:
        raise HostHasGone
    raise RuntimeError(f"a child ended before it ran its program (exit status {code})")


def end_all(pid: int) -> None:
    """End a program's process and whatever is left of what it started.

    Nothing is, where the filter holds. As the first process of a namespace this one ends every other process in it;
    elsewhere it ends the program's session, whose number is safe as long as the program's process is not reaped.
    """
    with contextlib.suppress(OSError):
        os.kill(-1 if os.getpid() == 1 else -pid, signal.SIGKILL)


def reap_all() -> None:
    """Wait for every process that was left to this one, the first of its namespace."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def write_all(descriptor: int, *parts: bytes | memoryview) -> None:
    """Write the parts, at once where the kernel takes them at once."""
    views = [memoryview(part) for part in parts]
    while views:
        count = os.writev(descriptor, views)
        while views and count >= len(views[0]):
            count -= len(views.pop(0))
        if views:
            views[0] = views[0][count:]


def own_memory() -> int:
    """The address space that this process takes, in bytes, to 64 KiB: found by the limit under which it gets no more.

    There is no /proc to read it from.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    low, high = 0, 1 << 40
    while high - low > 1 << 16:
        middle = (low + high) // 2
        resource.setrlimit(resource.RLIMIT_AS, (middle, hard))
        try:
            mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
            high = middle
        except (OSError, MemoryError):
            low = middle
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return high


class Setup:
    """What stays the same for all programs. `given` comes from the host as the first argument, in JSON."""

    def __init__(self, given: dict[str, Any]) -> None:
        instructions = base64.b64decode(given["filter"])
        self.filter = Filter(len(instructions) // 8, instructions)
        # Of this user in the box beside the program's; None: not counted.
        self.processes: int | None = given["processes"]
        self.shared_bytes: int = HEAD + given["shared_bytes"]
        self.pid = os.getpid()
        self.is_first_process = self.pid == 1
        self.host_in, self.host_out = os.dup(0), os.dup(1)
        self.nothing, writer = os.pipe()
        os.close(writer)
        self.libc = ctypes.CDLL(None, use_errno=True)
        PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38
        # Not dumpable: a child of the same user cannot look into this process, or write into its memory.
        if self.libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) or self.libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        self.own_memory = own_memory()


class Seeder:
    """Seeds the random generators as they are imported, so that a program answers the same every time it is run."""

    NAMES = ("random", "numpy.random")

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in cls.NAMES:
            return None
        for finder in sys.meta_path:
            spec = None if finder is cls else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                load = spec.loader.exec_module

                def exec_module(module: Any, load: Callable[[Any], None] = load) -> None:
                    load(module)
                    module.seed(0)

                spec.loader.exec_module = exec_module  # type: ignore[method-assign]
                return spec
        return None


def preload(packages: Sequence[str]) -> None:
    """Import what programs use. A package that loads a random generator by itself finds it seeded too."""
    global numpy
    sys.meta_path.insert(0, Seeder)
    for name in (*PRELOADED, *packages):
        importlib.import_module(name)
    numpy = sys.modules.get("numpy")


def rehearse() -> None:
    """Run a program of our own, here, as a child runs those of others.

    A function's first calls write into it, as Python learns how to run it; a child would pay for the pages, every time.
    """
    body = json.dumps(REHEARSED)
    with mmap.mmap(-1, 1 << 16) as shared:
        for _ in range(REHEARSALS):
            run(DECODE(body, 0)[0], 1 << 12, shared)
    del sys.modules["program"]


def fill_holes() -> list[bytes]:
    """Objects that take the room between those that are there, for as long as they are kept.

    A child would put its own objects there, few to a page, and pay for a copy of each page. So it fills new ones.
    """
    kept = []
    for size in BLOCKS:
        for _ in range(MOST_HOLES):
            kept.append(bytes(size - bytes.__basicsize__))
            if id(kept[-1]) % POOL == POOL_HEAD:  # the first of a new pool: no other one had room
                break
    return kept


def main() -> None:
    given = json.loads(sys.argv[1])
    sys.path[:0] = given["path"]
    sys.argv[:] = [""]
    preload(given["packages"])
    rehearse()
    gc.collect()
    _filled = fill_holes()  # as long as programs are served
    setup = Setup(given)
    os.dup2(setup.nothing, 0)
    write_all(setup.host_out, READY)
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        while True:
            serve_one(setup)
    except (HostHasGone, BrokenPipeError):
        pass


if __name__ == "__main__":
    main()
