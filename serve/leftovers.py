"""A small process that ends whatever another one has started and left, however that one ended.

A process that is killed cannot clean up, and some of Ray's stay for a minute after it. They are known by the logs
that they hold open for writing: their environments they overwrite with their titles. The watcher waits for the end
of a pipe, which the kernel closes. It is started as a file, with Python's standard library alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROUNDS = 20
PAUSE_SECONDS = 0.1


@contextmanager
def ended_with_this(folder: Path) -> Iterator[Callable[[str], None]]:
    """At the end, or when this process is killed, `folder` is removed, and what writes to a file in it is killed.

    Yields a function that names more folders, whose writers are killed too; these folders stay.
    """
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    # In a session of its own: what ends all processes of a terminal leaves it.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    pipe = watcher.stdin
    assert pipe is not None

    def also(more: str) -> None:
        pipe.write(os.fsencode(f"{more}\n"))
        pipe.flush()

    try:
        yield also
    finally:
        pipe.close()
        watcher.wait()


def main() -> None:
    """Wait for the end of standard input, which names folders; then kill and remove."""
    folder = sys.argv[1]
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folders = [folder, *os.fsdecode(sys.stdin.buffer.read()).splitlines()]
    parent = os.getppid()  # still there if all went well
    for _ in range(ROUNDS):
        found = [pid for pid in _processes() if pid not in (os.getpid(), parent) and _writes_below(pid, folders)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            break
        time.sleep(PAUSE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


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
