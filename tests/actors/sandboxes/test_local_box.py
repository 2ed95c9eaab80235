"""Boxes that are processes of this machine: how they start, break and end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from actors.sandboxes import bubblewrap, local_box, process
from actors.sandboxes.contract import DEFAULT_LIMITS, Limits, SandboxBroken, SandboxUnusable
from actors.sandboxes.local_box import SocketChannel
from tests.actors.sandboxes.process_tree import below

KNOWN = "def transform(grid):\n    return [row[::-1] for row in grid]\n"
SLEEP = "import time\ndef transform(grid): time.sleep(1000)\n"
PATIENT = Limits(cpu_seconds=100)  # 400 on the clock


def servers() -> list[int]:
    return [pid for pid, command in below(os.getpid()).items() if "fork_server.py" in command]


def wait_until_gone(pids: list[int], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while left := set(pids) & set(below(1)):  # without those that ended and are not reaped yet
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_a_channel_waits_for_exactly_so_many_bytes() -> None:
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours)
    threading.Timer(0.1, lambda: theirs.sendall(b"cd")).start()
    theirs.sendall(b"ab")
    assert channel.receive(3, 10) == b"abc"
    assert channel.receive(1, 10) == b"d"
    theirs.close()


@pytest.mark.parametrize("then", ["silence", "end", "closed here"])
def test_a_channel_that_gives_nothing_breaks_the_sandbox(then: str) -> None:
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours)
    if then == "end":
        theirs.close()
    if then == "closed here":
        ours.close()
    with pytest.raises(SandboxBroken):
        channel.receive(1, 0.1)


def test_a_host_that_cannot_send_breaks_the_sandbox() -> None:
    ours, _theirs = socket.socketpair()
    with pytest.raises(SandboxBroken, match="does not listen"):
        SocketChannel(ours).send(b"x" * (64 << 20), 0.1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/no/such/program"], "No such file"),
        ([sys.executable, "-c", "raise SystemExit('the last line')"], "the last line"),
        ([sys.executable, "-c", "print('gristmill sandbox 0')"], "another one"),
    ],
)
def test_a_box_that_does_not_start_says_why(command: list[str], message: str) -> None:
    with pytest.raises(SandboxUnusable, match=f"box: .*{message}"):
        local_box.started("box", command, {}, None, lambda said: f"box: {said}")


def test_without_bubblewrap_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxUnusable, match="apt-get install bubblewrap"):
        bubblewrap.start()


def test_a_machine_that_makes_no_namespaces_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "bwrap: No permissions to create new namespace, likely because the kernel does not allow it"
    monkeypatch.setattr(bubblewrap, "options", lambda tree: ["--no-such-option", said])
    with pytest.raises(SandboxUnusable, match="bubblewrap does not start"):
        bubblewrap.start()
    assert "docs/sandboxes.md" in bubblewrap._explain(said)


@pytest.fixture(params=["bubblewrap", "process"])
def sandbox(request: pytest.FixtureRequest) -> Any:
    if request.param == "bubblewrap":
        request.getfixturevalue("bubblewrap_works")
    before = servers()
    made = (bubblewrap if request.param == "bubblewrap" else process).start()
    yield made
    made.close()
    assert [pid for pid in servers() if pid not in before] == []


@pytest.mark.component
def test_a_closed_sandbox_is_gone_when_close_returns(sandbox: Any) -> None:
    mine = servers()
    assert sandbox.execute(KNOWN, "transform", [[[1, 2]]], DEFAULT_LIMITS).outcomes[0].value == [[2, 1]]
    sandbox.close()
    assert not {pid for pid in mine if os.path.exists(f"/proc/{pid}")} & set(servers())
    sandbox.close()
    with pytest.raises(SandboxBroken):
        sandbox.execute(KNOWN, "transform", [[[1]]], DEFAULT_LIMITS)


@pytest.mark.component
def test_a_server_that_is_killed_in_mid_call_breaks_the_sandbox_quickly(sandbox: Any) -> None:
    running: list[int] = []

    def kill_all_but_the_program() -> None:
        running.extend(servers())
        for pid in running:
            if set(below(pid)) & set(running):
                os.kill(pid, signal.SIGKILL)

    threading.Timer(0.5, kill_all_but_the_program).start()
    began = time.monotonic()
    with pytest.raises(SandboxBroken):
        sandbox.execute(SLEEP, "transform", [1], PATIENT)
    assert time.monotonic() - began < 60  # of the 400 that the program had
    assert len(running) >= 2
    wait_until_gone(running)


@pytest.mark.component
def test_a_sandbox_that_is_closed_in_mid_call_leaves_no_program(sandbox: Any) -> None:
    running: list[int] = []

    def close() -> None:
        running.extend(servers())
        sandbox.close()

    threading.Timer(0.5, close).start()
    with pytest.raises(SandboxBroken):
        sandbox.execute(SLEEP, "transform", [1], PATIENT)
    assert len(running) >= 2
    wait_until_gone(running)


@pytest.mark.component
def test_a_sandbox_outlives_the_thread_that_started_it(bubblewrap_works: None) -> None:
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(bubblewrap.start()))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert made[0].execute(KNOWN, "transform", [[[1, 2]]], DEFAULT_LIMITS).outcomes[0].value == [[2, 1]]
    made[0].close()


HOST = f"""
import sys
from actors.sandboxes import {{kind}} as isolation
from actors.sandboxes.contract import Limits
sandbox = isolation.start()
sandbox.execute({KNOWN!r}, "transform", [[[1]]], Limits())
print("ready", flush=True)
if {{busy}}:
    sandbox.execute({SLEEP!r}, "transform", [1], Limits(cpu_seconds=250))
input()
"""


@pytest.mark.component
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("kind", ["bubblewrap", "process"])
def test_the_box_of_a_killed_host_is_gone_within_seconds(kind: str, busy: bool, bubblewrap_works: None) -> None:
    script = HOST.format(kind=kind, busy=busy)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None and host.stdout.readline() == "ready\n"
        time.sleep(0.3)
        boxes = list(below(host.pid))
        assert len(boxes) >= 2
        host.kill()
        host.wait()
        wait_until_gone(boxes)


FULL_DISK = f"""
import os, sys, tempfile
tempfile._candidate_tempdir_list = lambda: [os.getcwd()]
from actors.sandboxes import bubblewrap
from actors.sandboxes.contract import Limits, SandboxUnusable
from actors.sandboxes.self_test import prove
sandbox = bubblewrap.start()
print(sandbox.execute({KNOWN!r}, "transform", [[[1, 2]]], Limits()).outcomes[0].value)
try:
    prove(sandbox)
except SandboxUnusable as error:
    print(error)
"""


@pytest.mark.component
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_does_not_stop_a_sandbox_and_is_told_where_one_is_proved(
    bubblewrap_works: None, tmp_path: Any
) -> None:
    """In a process of its own, which has made nothing before, all temporary files lie on a disk without room."""
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "full", str(full)], check=True)
    try:
        with pytest.raises(OSError):
            (full / "file").write_bytes(b"x")
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        found = subprocess.run(
            [sys.executable, "-c", FULL_DISK], cwd=full, env=environment, capture_output=True, text=True, check=True
        )
    finally:
        subprocess.run(["umount", "-l", str(full)], check=True)
    value, told = found.stdout.splitlines()
    assert value == "[[2, 1]]"
    assert told.startswith("bubblewrap cannot be tested (") and "a folder for temporary files" in told
