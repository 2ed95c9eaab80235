"""A small process that ends whatever another one has started and left, however that one ended, and speaks for it.

A process that is killed cannot clean up, and some of Ray's stay for a minute after it; nor can it say a word when Ray's
own code in it, which finds the raylet gone, ends it on the spot. What it has started is known by a mark in the
environment, and, since Ray's agents overwrite theirs with their titles, by the logs that it holds open for writing. The
watcher waits for the end of a pipe, which the kernel closes. It is started as a file, with the standard library alone.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROUNDS = 20
PAUSE_SECONDS = 0.1
CLEAR_LINE = "\r\x1b[2K\x1b[?25h"  # of a live display, whose cursor is hidden


class Watcher:
    """The way to the watching process; every call is one short line through a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def ends_writers_below(self, folder: str) -> None:
        """Whoever writes to a file below this folder is ended too."""
        self._tell("folder", folder)

    def misses(self, pid: int, words: str) -> None:
        """Say these words, should that process end before this one does, and this one say nothing by itself."""
        self._tell("vital", f"{pid} {words}")

    def misses_nothing(self) -> None:
        """Forget whom to miss: from now on they may end."""
        self._tell("forget", "")

    def say(self, words: str) -> None:
        """Say this, instead of anything else, on standard error."""
        self._tell("say", words)

    def _tell(self, what: str, about: str) -> None:
        with suppress(BrokenPipeError):
            os.write(self._pipe, os.fsencode(f"{what} {about}\n"))


@contextmanager
def ended_with_this(mark: str = "", remove: str = "") -> Iterator[Watcher]:
    """At the end, or when this process is killed, what it has started is killed, and the folder `remove` removed.

    That is who has `NAME=VALUE`, the `mark`, in its environment, and who writes to a file below `remove` and below what
    else the watcher is told.
    """
    command = [sys.executable, "-I", "-S", __file__, mark, remove]
    # In a session of its own: what ends all processes of a terminal leaves it. Without the mark, which it looks for.
    environment = {name: value for name, value in os.environ.items() if f"{name}={value}" != mark}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, env=environment
    )
    assert process.stdin is not None
    try:
        yield Watcher(process.stdin.fileno())
    finally:
        process.stdin.close()
        process.wait()


# In the watching process


def main() -> None:
    """Wait for the end of standard input, then speak, kill and remove."""
    mark, remove = sys.argv[1:]
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folders = [remove] if remove else []
    parent = os.getppid()  # still there if all went well
    words = listen(folders)
    if words:
        clear_line = CLEAR_LINE if sys.stderr.isatty() else ""
        print(f"{clear_line}{words}", file=sys.stderr, flush=True)
    for _ in range(ROUNDS):
        others = (pid for pid in _processes() if pid not in (os.getpid(), parent))
        found = [pid for pid in others if _has(pid, mark) or _writes_below(pid, folders)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            break
        time.sleep(PAUSE_SECONDS)
    if remove:
        shutil.rmtree(remove, ignore_errors=True)


def listen(folders: list[str], pipe: int = 0) -> str:
    """Take in what is told until the pipe ends; what there is to say then."""
    said, missed, pending = "", "", b""
    vital: dict[int, str] = {}
    while True:
        poller = select.poll()
        for descriptor in (pipe, *vital):
            poller.register(descriptor, select.POLLIN)
        # Where both have ended at one look, the part is taken to have been first. On a busy machine it may have been the
        # other way round, since a part ends with who started it; the way on is the same.
        ready = [descriptor for descriptor, _ in poller.poll()]
        for descriptor in vital.keys() & set(ready):
            missed = missed or vital[descriptor]
            del vital[descriptor]
            os.close(descriptor)
        if pipe not in ready:
            continue
        part = os.read(pipe, 1 << 16)
        if not part:
            return said or missed
        *lines, pending = (pending + part).split(b"\n")
        for line in lines:
            what, _, about = os.fsdecode(line).partition(" ")
            if what == "folder":
                folders.append(about)
            elif what == "say":
                said = said or about
            elif what == "forget":
                for descriptor in vital:
                    os.close(descriptor)
                vital, missed = {}, ""
            elif what == "vital":
                pid, _, words = about.partition(" ")
                with suppress(OSError, AttributeError):  # it has ended, which the other side sees, or cannot be watched
                    vital[os.pidfd_open(int(pid))] = words


def _processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _has(pid: int, mark: str) -> bool:
    with suppress(OSError):
        return bool(mark) and os.fsencode(mark) in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def _writes_below(pid: int, folders: list[str]) -> bool:
    """Who only reads there, a person with a log before them, is left alone."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                path = os.readlink(entry)
                if any(path.startswith(f"{folder}/") for folder in folders) and entry.lstat().st_mode & stat.S_IWUSR:
                    return True
    return False


if __name__ == "__main__":
    main()
