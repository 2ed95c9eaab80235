"""Whoever watches for leftovers: what it ends, what it leaves, and what it says for one that cannot speak any more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.leftovers import ended_with_this

ROOT = Path(__file__).resolve().parents[2]
DIED = "the part died; run it again"

# Starts a part (a sleeping process), has it missed, and, once that is so, does what it is told.
HOLDER = f"""
import glob, os, subprocess, sys, time
from contextlib import suppress
from cluster.leftovers import ended_with_this
with ended_with_this("MARK=" + sys.argv[1]) as watcher:
    part = subprocess.Popen(["sleep", "60"], env=os.environ | {{"MARK": sys.argv[1]}})
    watcher.misses(part.pid, {DIED!r})
    def is_missed():
        children = open(f"/proc/self/task/{{os.getpid()}}/children").read().split()
        for file in (file for pid in children for file in glob.glob(f"/proc/{{pid}}/fdinfo/*")):
            with suppress(OSError):
                if f"Pid:\\t{{part.pid}}\\n" in open(file).read():
                    return True
    while not is_missed():
        time.sleep(0.01)
    print(part.pid, flush=True)
    exec(sys.stdin.readline())
    time.sleep(60)
"""


def hold(mark: str) -> tuple[subprocess.Popen[str], int]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, mark],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    return holder, int(holder.stdout.readline())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_the_end_of(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        # Killed, with its part alive: there is nothing to say of the part.
        ("os.kill(os.getpid(), 9)", ""),
        # As Ray's own code does when it finds the raylet gone.
        ("part.kill(); part.wait(); os._exit(1)", f"{DIED}\n"),
        # What it says itself is said instead, once.
        ("part.kill(); part.wait(); watcher.say('I know'); os._exit(1)", "I know\n"),
        ("watcher.say('late'); os._exit(1)", "late\n"),
        # It ended the part itself, or did not miss it.
        ("watcher.misses_nothing(); part.kill(); part.wait(); os._exit(0)", ""),
        ("part.kill(); part.wait(); time.sleep(0.2); watcher.misses_nothing(); sys.exit(0)", ""),
    ],
)
def test_it_speaks_for_a_process_that_could_not(told: str, said: str, tmp_path: Path) -> None:
    holder, part = hold(str(tmp_path))
    _, errors = holder.communicate(f"{told}\n", timeout=30)  # the watcher has ended too: it holds standard error
    assert errors == said
    wait_for_the_end_of(part)


def test_a_process_that_bears_the_mark_ends_with_the_one_that_was_killed(tmp_path: Path) -> None:
    holder, part = hold(str(tmp_path))
    other = subprocess.Popen(["sleep", "60"], env=os.environ | {"MARK": f"{tmp_path}-other"})
    holder.kill()
    wait_for_the_end_of(part)
    holder.communicate(timeout=30)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_who_writes_below_the_folder_is_ended_and_who_reads_there_is_not(tmp_path: Path) -> None:
    folder, kept = tmp_path / "mine", tmp_path / "kept"
    for each in (folder, kept):
        each.mkdir()
        (each / "log").write_text("")
    processes = []
    with ended_with_this(remove=str(folder)) as watcher:
        watcher.ends_writers_below(str(kept))
        for path, mode in ((folder, "ab"), (kept, "ab"), (kept, "rb"), (tmp_path, "ab")):
            with open(path / "log", mode) as log:
                processes.append(subprocess.Popen(["sleep", "60"], stdin=log))
    try:
        assert [process.poll() is None for process in processes] == [False, False, True, True]
        assert not folder.exists() and (kept / "log").exists()
    finally:
        for process in processes:
            process.kill()
            process.wait()
