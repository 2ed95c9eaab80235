"""The Docker sandbox: its channel, its errors, and that its containers end with whom they belong to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from actors.program_executor import ProgramExecutor
from actors.sandboxes import docker as docker_sandbox
from actors.sandboxes.choice import SandboxChoice
from actors.sandboxes.contract import DEFAULT_LIMITS, Limits, SandboxBroken, SandboxUnusable
from actors.sandboxes.docker import LABEL, DockerChannel, remove_orphans
from actors.sandboxes.owner import owner

KNOWN = "def transform(grid):\n    return [row[::-1] for row in grid]\n"


def piece(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(data)) + data


def channel_of(*sent: bytes) -> DockerChannel:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"".join(sent))
    theirs.close()
    return DockerChannel(ours)


def test_the_pieces_of_the_standard_output_are_one_stream() -> None:
    channel = channel_of(piece(1, b"ab"), piece(1, b"cdef"), piece(1, b""), piece(1, b"gh"))
    assert [channel.receive(size, 1) for size in (3, 0, 4, 1)] == [b"abc", b"", b"defg", b"h"]


def test_the_last_of_the_standard_error_is_kept() -> None:
    channel = channel_of(piece(2, b"x" * 9000), piece(2, b"the end"), piece(1, b"a"))
    assert channel.receive(1, 1) == b"a"
    assert len(channel.errors) == 4096 and channel.errors.endswith(b"xthe end")


@pytest.mark.parametrize(
    "sent", [b"", piece(1, b"ab"), piece(1, b"abc")[:9], piece(7, b"abc"), b"\1", piece(2, b"abc")]
)
def test_a_stream_that_ends_or_is_none_of_dockers_breaks_the_sandbox(sent: bytes) -> None:
    with pytest.raises(SandboxBroken):
        channel_of(sent).receive(3, 1)


def test_a_stream_that_stands_still_breaks_the_sandbox() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(piece(1, b"a"))
    with pytest.raises(SandboxBroken, match="does not answer"):
        DockerChannel(ours).receive(2, 0.1)
    theirs.close()


def test_without_a_daemon_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(SandboxUnusable, match=r"no Docker daemon .* DOCKER_HOST") as raised:
        docker_sandbox.start()
    assert "\n" not in str(raised.value)


class Listing:
    """A daemon that lists containers, and notes which are removed."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels, self.removed = labels, []  # type: ignore[var-annotated]

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Id": name, "Labels": {LABEL: label}} for name, label in self.labels.items()]

    def remove_container(self, name: str, **_: Any) -> None:
        self.removed.append(name)


def word_of_the_dead() -> str:
    numbering, _, tick = owner().rpartition("-")
    return f"{numbering}-{int(tick) + 1}"


def test_only_the_containers_of_the_dead_of_this_machine_are_removed() -> None:
    dead = {f"dead {number}": word_of_the_dead() for number in range(1000)}
    daemon = Listing({"mine": owner(), "another machine's": "x" + word_of_the_dead(), "unnamed": "", **dead})
    assert remove_orphans(daemon) == 1000  # type: ignore[arg-type]
    assert daemon.removed == list(dead)


# A real daemon


@pytest.fixture
def client(dockerd: str) -> Any:
    import docker

    return docker.from_env().api


def owned_by(client: Any, word: str) -> list[str]:
    return [found["Id"] for found in client.containers(all=True, filters={"label": f"{LABEL}={word}"})]


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.component
def test_the_image_is_made_once_and_a_closed_sandbox_leaves_no_container(client: Any) -> None:
    first = docker_sandbox.start()
    images = client.images()
    second = docker_sandbox.start()
    assert client.images() == images and len(owned_by(client, owner())) == 2
    for sandbox in (first, second, first):
        assert sandbox.close() is None
    assert owned_by(client, owner()) == []
    with pytest.raises(SandboxBroken):
        first.execute(KNOWN, "transform", [[[1]]], DEFAULT_LIMITS)


@pytest.mark.component
def test_a_container_that_is_killed_in_mid_call_breaks_the_sandbox_quickly(client: Any) -> None:
    sandbox = docker_sandbox.start()
    (container,) = owned_by(client, owner())
    killer = subprocess.Popen(
        [sys.executable, "-c", f"import docker, time; time.sleep(1); docker.from_env().api.kill({container!r})"]
    )
    began = time.monotonic()
    with pytest.raises(SandboxBroken):
        sandbox.execute(
            "import time\ndef transform(grid): time.sleep(1000)\n", "transform", [1],
            DEFAULT_LIMITS.__class__(cpu_seconds=100),
        )  # fmt: skip
    assert time.monotonic() - began < 60  # of the 400 that the program had
    assert killer.wait() == 0
    sandbox.close()
    wait_until(lambda: owned_by(client, owner()) == [])


@pytest.mark.component
def test_a_container_that_is_killed_in_mid_call_costs_no_program_its_outcome(client: Any) -> None:
    executor = ProgramExecutor(SandboxChoice("docker"))
    try:
        executor.run(KNOWN, "transform", [[[1]]])  # the container is there, and has proved that it isolates
        (container,) = owned_by(client, owner())
        slow = "import time\ndef transform(grid):\n    time.sleep(1)\n    return grid\n"
        with ThreadPoolExecutor(1) as caller:
            call = caller.submit(executor.run, slow, "transform", [[[7]]], Limits(cpu_seconds=5))
            time.sleep(0.3)
            client.kill(container)
            assert call.result(120).outcomes[0].value == [[7]]
        assert asyncio.run(executor.health()).broken == 1
    finally:
        executor.close()
    wait_until(lambda: owned_by(client, owner()) == [])


HOST = f"""
import sys, threading
from actors.sandboxes import docker
from actors.sandboxes.contract import Limits
from actors.sandboxes.owner import owner
sandbox = docker.start()
sandbox.execute({KNOWN!r}, "transform", [[[1]]], Limits())
print(owner(), flush=True)
if sys.argv[1] == "busy":
    sandbox.execute("import time\\ndef transform(grid): time.sleep(1000)\\n", "transform", [1], Limits(cpu_seconds=250))
input()
"""


@pytest.mark.component
@pytest.mark.parametrize("doing", ["idle", "busy"])
def test_the_container_of_a_killed_host_is_gone_within_seconds(client: Any, doing: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOST, doing], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        word = host.stdout.readline().strip()
        time.sleep(0.5)
        assert len(owned_by(client, word)) == 1
        host.send_signal(signal.SIGKILL)
        host.wait()
        wait_until(lambda: owned_by(client, word) == [])


@pytest.mark.component
def test_containers_that_a_dead_host_left_are_removed_at_the_next_start(client: Any) -> None:
    """As after a crash of the daemon: containers that were made, and never ended."""
    image = next(iter(client.images(name=docker_sandbox.REPOSITORY)), None)
    if image is None:
        docker_sandbox.start().close()
        image = client.images(name=docker_sandbox.REPOSITORY)[0]
    labels = {LABEL: word_of_the_dead()}
    for number in range(5):
        client.create_container(
            image["Id"], ["/python/bin/python3"], labels=labels, name=f"orphan-{os.getpid()}-{number}"
        )
    mine = docker_sandbox.start()
    try:
        assert owned_by(client, word_of_the_dead()) == [] and len(owned_by(client, owner())) == 1
    finally:
        mine.close()


@pytest.mark.component
def test_a_runtime_that_the_daemon_does_not_know_is_named(client: Any) -> None:
    with pytest.raises(SandboxUnusable, match="no-such-runtime"):
        docker_sandbox.start(runtime="no-such-runtime")
    assert owned_by(client, owner()) == []
