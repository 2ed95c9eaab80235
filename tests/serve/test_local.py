"""One command that serves on this machine: what it opens, what it refuses, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from serve.front import FrontError, true_haproxy

pytestmark = [pytest.mark.component, pytest.mark.ray]

PROBLEM = "application/problem+json"
LIMITS = {"IN_FLIGHT": "4", "QUEUE": "4", "CLIENT_SECONDS": "2"}
PROGRAM = '''
import asyncio, json, os, sys
from serve.local import serving, wait_until_answering, wait_until_ended

async def application(scope, receive, send):
    """Does what the path says: /sleep/SECONDS, /fail, /die; else it tells what reached it."""
    if scope["type"] != "http":
        return
    _, word, *rest = scope["path"].split("/")
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    if word == "sleep":
        await asyncio.sleep(float(rest[0]))
    elif word == "fail":
        raise RuntimeError("secret")
    elif word == "die":
        os._exit(1)
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    body = json.dumps({"pid": os.getpid(), "bytes": size, "headers": headers}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})

host, port = sys.argv[1], int(sys.argv[2])
with serving(host, port, 1):
    from ray import serve

    @serve.deployment(max_ongoing_requests=1000)
    @serve.ingress(lambda: application)
    class Obedient:
        pass

    serve.run(Obedient.bind())
    wait_until_answering(host, port)
    print("ready", file=sys.stderr, flush=True)
    wait_until_ended()
print("ended", [name for name in os.environ if "RAY_SERVE" in name], file=sys.stderr, flush=True)
'''


@dataclass(frozen=True)
class Instance:
    process: subprocess.Popen[str]
    port: int
    output: Path
    errors: Path

    def family(self) -> list[Any]:
        import psutil

        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    pytest.importorskip("ray.serve")
    pytest.importorskip("psutil")
    try:
        true_haproxy()
    except FrontError as error:
        pytest.skip(str(error))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, port: int) -> Instance:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    output, errors = folder / f"{port}.out", folder / f"{port}.err"
    settings = {f"GRISTMILL_SERVE_{name}": value for name, value in LIMITS.items()}
    with output.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, str(program), "127.0.0.1", str(port)],
            env=os.environ | settings,
            stdout=out,
            stderr=err,
            text=True,
        )
    return Instance(process, port, output, errors)


def wait_for(condition: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.1)


def ready(instance: Instance) -> bool:
    assert instance.process.poll() is None, instance.errors.read_text()
    return "ready" in instance.errors.read_text()


def left(family: list[Any]) -> list[str]:
    import psutil

    alive = []
    for process in family:
        with suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(f"{process.pid} {process.name()}")
    return alive


def ask(port: int, path: str = "/", headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    named = {name.lower(): value for name, value in response.getheaders()}
    return response.status, named, json.loads(content) if "json" in named.get("content-type", "") else content


def answers(port: int) -> bool:
    with suppress(OSError, HTTPException):
        return ask(port)[0] == 200
    return False


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    one = start(tmp_path_factory.mktemp("one"), free_port())
    try:
        wait_for(lambda: ready(one), 120)
        yield one
    finally:
        one.process.kill()
        one.process.wait()


def test_it_listens_on_loopback_alone_and_says_nothing(instance: Instance) -> None:
    import psutil

    listening = [
        (process.name(), connection.laddr)
        for process in instance.family()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert ("haproxy", ("127.0.0.1", instance.port)) in listening
    assert {address.ip for _, address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening
    assert instance.output.read_text() == ""
    assert instance.errors.read_text() == "ready\n"


def test_clients_do_not_steer_ray(instance: Instance) -> None:
    steering = {"X-Request-Timeout-Seconds": "0.001", "serve_multiplexed_model_id": "a", "Upgrade": "websocket"}
    status, headers, body = ask(instance.port, "/sleep/0.2", steering | {"X-Request-ID": "mine"})
    assert status == 200
    arrived = dict(body["headers"])
    assert arrived["x-request-disconnect-disabled"] == "?1"
    assert not {name.lower() for name in steering} & set(arrived)
    assert headers["x-request-id"] == "mine" and "server" not in headers


def test_too_many_are_refused_at_once(instance: Instance) -> None:
    def timed(_: int) -> tuple[float, tuple[int, dict[str, str], Any]]:
        began = time.monotonic()
        answer = ask(instance.port, "/sleep/2")
        return time.monotonic() - began, answer

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(timed, range(16)))
    assert sorted(status for _, (status, _, _) in found) == [200] * 8 + [503] * 8
    for seconds, (status, headers, body) in found:
        if status == 503:
            assert (headers["retry-after"], headers["content-type"], body["status"]) == ("1", PROBLEM, 503)
            assert seconds < 1.5


def test_slow_headers_are_cut_off(instance: Instance) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", instance.port), 20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert connection.recv(65536) == b""
    assert time.monotonic() - began < 4


def test_a_defect_of_the_application_tells_nothing(instance: Instance) -> None:
    status, headers, body = ask(instance.port, "/fail")
    assert (status, headers["content-type"], body["status"]) == (503, PROBLEM, 503)
    assert "secret" not in json.dumps(body)


def test_a_replica_that_dies_is_replaced(instance: Instance) -> None:
    before = ask(instance.port)[2]["pid"]
    status, headers, body = ask(instance.port, "/die")
    assert status in (502, 503) and headers["content-type"] == PROBLEM and body["status"] == status
    wait_for(lambda: answers(instance.port), 60)
    assert ask(instance.port)[2]["pid"] != before


def test_a_port_that_is_taken(instance: Instance, tmp_path: Path) -> None:
    other = start(tmp_path, instance.port)
    assert other.process.wait(60) == 1
    assert f"127.0.0.1:{instance.port} is in use; give another --port\n" in other.errors.read_text()


def test_a_second_one_beside_it_ends_whole(instance: Instance, tmp_path: Path) -> None:
    second = start(tmp_path, free_port())
    try:
        wait_for(lambda: ready(second), 120)
        family = second.family()
        assert ask(second.port)[2]["pid"] != ask(instance.port)[2]["pid"]
        with ThreadPoolExecutor(1) as pool:
            in_flight = pool.submit(ask, second.port, "/sleep/2")
            time.sleep(0.5)
            second.process.send_signal(signal.SIGTERM)
            assert in_flight.result()[0] == 200  # it is answered before the end
        assert second.process.wait(20) == 0
        assert second.errors.read_text() == "ready\nended []\n" and second.output.read_text() == ""
        wait_for(lambda: not left(family), 10)
        assert answers(instance.port)
    finally:
        second.process.kill()
        second.process.wait()


def test_nothing_is_left_of_one_that_is_killed(instance: Instance) -> None:
    """The last of this file: it ends the instance that the others ask."""
    family = instance.family()
    instance.process.kill()
    instance.process.wait()
    wait_for(lambda: not left(family), 15)
