"""HAProxy with the hardened form of Ray Serve's own config, before a server that does as it is told."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serve.front import FrontError, Limits, hardened, true_haproxy

LIMITS = Limits(
    in_flight=2, queue=2, queue_seconds=3, answer_seconds=3, client_seconds=1, idle_seconds=2, body_bytes=1 << 20
)
PROBLEM = "application/problem+json"


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    pytest.importorskip("ray.serve", reason="needs Ray Serve, whose config is hardened")
    try:
        true_haproxy()
    except FrontError as error:
        pytest.skip(str(error))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def generated(folder: Path, port: int = 8000, replicas: tuple[int, ...] = (9000, 9001), **settings: Any) -> str:
    """The config that Ray Serve writes for one application on these ports; none without any."""
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions, gRPCOptions

    host = settings.pop("host", "127.0.0.1")
    config = HAProxyConfig(
        http_options=HTTPOptions(host=host, port=port),
        grpc_options=gRPCOptions(),
        is_head=True,
        socket_path=str(folder / "s"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        metrics_socket_path=str(folder / "metrics"),
        **{"metrics_port": 0, "stats_port": 0, "metrics_enabled": False} | settings,
    )
    api = HAProxyApi(cfg=config, config_file_path=str(folder / "cfg"))
    servers = [ServerConfig(name=f"r{port}", host="127.0.0.1", port=port) for port in replicas]
    last_resort = ServerConfig(name="fallback", host="127.0.0.1", port=8500)
    backend = BackendConfig(
        name="http-default", path_prefix="/", app_name="default", servers=servers, fallback_server=last_resort
    )
    api.set_backend_configs({"http-default": backend} if replicas else {})
    api._generate_config_file_internal()
    return (folder / "cfg").read_text()


class TestConfig:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"replicas": ()},
            {"host": "0.0.0.0"},
            {"metrics_enabled": True, "metrics_port": 9101, "stats_port": 8404},
            {"log_target": "/dev/log"},
        ],
        ids=str,
    )
    def test_haproxy_takes_it(self, settings: dict[str, Any], tmp_path: Path) -> None:
        generated(tmp_path, **settings)
        command = [sys.executable, "-m", "serve.front", "-c", "-f", str(tmp_path / "cfg")]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stderr

    @pytest.mark.parametrize("host", ["::", "::1", "localhost", "0.0.0.0"])
    def test_haproxy_takes_a_host(self, host: str, tmp_path: Path) -> None:
        generated(tmp_path)
        command = [sys.executable, "-m", "serve.front", "-c", "-f", str(tmp_path / "cfg")]
        environment = os.environ | Limits(host=host).environment()
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert checked.returncode == 0, checked.stderr

    def test_pages_for_operators_stay_on_loopback(self, tmp_path: Path) -> None:
        result = hardened(generated(tmp_path, metrics_port=9101, stats_port=8404), Limits(), "x")
        assert re.findall(r"bind (.*)", result) == ["127.0.0.1:9101", "127.0.0.1:8000", "127.0.0.1:8404"]
        assert re.findall(r"bind (.*)", hardened(generated(tmp_path), Limits(), "x")) == ["127.0.0.1:8000"]

    def test_the_host_that_was_asked_for(self, tmp_path: Path) -> None:
        assert " bind 0.0.0.0:8000\n" in hardened(generated(tmp_path), Limits(host="0.0.0.0"), "x")
        assert " bind [::1]:8000\n" in hardened(generated(tmp_path), Limits(host="::1"), "x")

    def test_every_server_is_bounded_and_none_is_python(self, tmp_path: Path) -> None:
        servers = re.findall(r"^ +server .*", hardened(generated(tmp_path), Limits(in_flight=7), "x"), re.MULTILINE)
        assert len(servers) == 2 and all(server.endswith(" maxconn 7") for server in servers)

    def test_no_query_is_logged(self, tmp_path: Path) -> None:
        result = hardened(generated(tmp_path, log_target="/dev/log", metrics_enabled=True), Limits(), "x")
        assert "option httplog" not in result
        formats = re.findall(r"log-format.*", result)
        assert formats and not any(re.search(r"%(HU|HQ|HP|r\b|\{.*\}hr|\[capture)", line) for line in formats)
        assert "127.0.0.1:514" not in hardened(generated(tmp_path), Limits(), "x")

    @pytest.mark.parametrize(
        "place",
        [
            "global",
            "defaults",
            "stats socket",
            "option httplog",
            "    retry-on",
            "    bind 127.0.0.1:8000",
            '}" if routes',
            "\nbackend default_backend",
            "    log global\n    # Enable HTTP",
        ],
    )
    def test_a_config_in_which_a_place_is_missing_starts_nothing(self, place: str, tmp_path: Path) -> None:
        config = generated(tmp_path)
        assert place in config
        with pytest.raises(FrontError, match="is not where Ray Serve's config had it; install the version") as raised:
            hardened(config.replace(place, place[:1] + "_elsewhere", 1), Limits(), "x")
        assert "\n" not in str(raised.value)

    def test_what_it_does_not_know_may_not_listen(self, tmp_path: Path) -> None:
        config = generated(tmp_path) + "frontend news\n    bind *:9999\n"
        with pytest.raises(FrontError, match=r"'frontend news' .* would listen on \*:9999"):
            hardened(config, Limits(), "x")

    def test_settings_come_from_the_environment(self) -> None:
        assert Limits.of(LIMITS.environment()) == LIMITS
        assert Limits.of({}) == Limits()
        for value in ("0", "-1", "many", "1.5"):
            with pytest.raises(FrontError, match=f"GRISTMILL_SERVE_QUEUE={value}: give a whole number of 1 or more"):
                Limits.of({"GRISTMILL_SERVE_QUEUE": value})
        with pytest.raises(FrontError, match="GRISTMILL_SERVE_HOST"):
            Limits.of({"GRISTMILL_SERVE_HOST": "::1\n bind *:1"})

    @pytest.mark.parametrize("arguments", [[], ["-f"], ["-f", "/nonexistent/cfg"]], ids=str)
    def test_an_error_is_one_line(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "serve.front", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1 and ended.stderr.count("\n") == 1
        assert ended.stderr.startswith("gristmill-haproxy: ")


class _Obedient(BaseHTTPRequestHandler):
    """Does what the path says: /sleep/SECONDS, /status/STATUS/TYPE, /drop; else it tells what reached it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, word, *rest = [*self.path.split("/", 3), ""][:4]
        status, kind = 200, "application/json"
        body = self._body()
        if word == "sleep":
            time.sleep(float(rest[0]))
        elif word == "status":
            status, kind = int(rest[0]), rest[1]
        elif word == "drop":
            self.close_connection = True
            return
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        answer = json.dumps({"headers": headers, "bytes": body, "secret": "x"}).encode()
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    do_POST = do_GET

    def _body(self) -> int:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        total = 0
        while size := int(self.rfile.readline(), 16):
            total += len(self.rfile.read(size + 2)) - 2
        self.rfile.readline()
        return total

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that are gone."""


@pytest.fixture(scope="module")
def replica() -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), _Obedient)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "serve.front", "-db", "-f", str(folder / "cfg"), "-dR", *arguments]
    return subprocess.Popen(command, env=os.environ | LIMITS.environment(), stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("f")


@pytest.fixture(scope="module")
def front(replica: int, folder: Path) -> Iterator[int]:
    """The port of a HAProxy with narrow limits, before one replica."""
    port = free_port()
    generated(folder, port, (replica,))
    haproxy = start(folder)
    wait_for(lambda: listens(port))
    yield port
    haproxy.kill()
    haproxy.wait()


def ask(port: int, path: str = "/", method: str = "GET", **request: Any) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, **request)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return response.status, headers, json.loads(content) if "json" in headers.get("content-type", "") else content


def raw(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for these bytes, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        for part in parts:
            with suppress(OSError):
                connection.sendall(part)
            time.sleep(pause)
        with suppress(OSError):
            return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


def assert_problem(status: int, headers: dict[str, str], body: Any) -> None:
    assert headers["content-type"] == PROBLEM
    assert body["status"] == status and set(body) == {"type", "title", "status", "detail"}
    assert (headers.get("retry-after") == "1") == (status == 503)


def problem_in(answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    status = int(lines[0].split()[1])
    assert_problem(status, {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}, json.loads(body))
    return status


class TestRequests:
    def test_an_answer_comes_through(self, front: int) -> None:
        status, headers, body = ask(front, "/v1?token=secret", "POST", body=b"x" * 300_000)
        assert (status, body["bytes"]) == (200, 300_000)
        assert "server" not in headers

    def test_clients_do_not_steer_ray(self, front: int) -> None:
        sent = {
            "X-Request-Timeout-Seconds": "0.001",
            "x-request-disconnect-disabled": "?0",
            "serve_multiplexed_model_id": "a",
            "Serve-Multiplexed_Model-Id": "b",
            "X-Session_ID": "c",
            "x-serve-router-anything": "d",
            "X-Forwarded-For": "192.0.2.1",
            "X-Request-ID": "a-good.one:1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "X-Other": "stays",
        }
        status, _, body = ask(front, headers=sent)
        assert status == 200, body
        arrived = dict(body["headers"])
        assert len(arrived) == len(body["headers"])
        assert arrived.pop("x-request-disconnect-disabled") == "?1"
        assert arrived.pop("x-request-id") == "a-good.one:1"
        assert arrived.pop("x-other") == "stays"
        assert not set(arrived) - {"host", "accept-encoding", "sec-websocket-key"}

    @pytest.mark.parametrize(
        "line",
        [
            b"X-Request-ID: \xff\xfe",
            b"X-Request-ID: a\r\nX-Request-ID: \xff",
            b"x-request-id: " + b"a" * 129,
            b"traceparent: \xff",
            b"tracestate: \xff",
        ],
    )
    def test_values_that_ray_cannot_decode_do_not_reach_it(self, line: bytes, front: int) -> None:
        answer = raw(front, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + line + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert not {"x-request-id", "traceparent", "tracestate"} & set(
            dict(json.loads(answer.partition(b"\r\n\r\n")[2])["headers"])
        )

    def test_paths_of_ray(self, front: int) -> None:
        assert ask(front, "/-/healthz")[::2] == (200, b"success")
        status, headers, body = ask(front, "/-/routes")
        assert status == 404
        assert_problem(404, headers, body)

    def test_methods_nobody_serves(self, front: int) -> None:
        for method in ("CONNECT example.com:80", "TRACE /"):
            answer = raw(front, f"{method} HTTP/1.1\r\nHost: example.com:80\r\nConnection: close\r\n\r\n".encode())
            assert problem_in(answer) == 405

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: a\r\n" % i for i in range(300)) + b"\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ],
        ids=["no HTTP", "long header", "many headers", "bytes in the path", "negative length"],
    )
    def test_what_is_no_request(self, request_bytes: bytes, front: int) -> None:
        # HAProxy 2.8 words these itself, before it has a request (haproxy/haproxy#3032).
        assert raw(front, request_bytes).startswith(b"HTTP/1.1 400 ")

    def test_headers_that_are_too_long(self, front: int) -> None:
        status, headers, body = ask(front, headers={"X": "a" * 9000})
        assert status == 431
        assert_problem(431, headers, body)

    def test_a_body_that_is_too_large(self, front: int) -> None:
        begin = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n"
        assert problem_in(raw(front, begin)) == 413
        status, _, body = ask(front, "/", "POST", body=b"x" * (1 << 20))
        assert (status, body["bytes"]) == (200, 1 << 20)

    def test_slow_headers_and_short_bodies_are_cut_off(self, front: int) -> None:
        for request_parts in (
            (b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 20),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 20),
        ):
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", front), 20) as connection:
                connection.settimeout(0.1)
                answer = b""
                for part in request_parts:
                    with suppress(OSError):
                        connection.sendall(part)
                    with suppress(TimeoutError):
                        if answer := connection.recv(65536):
                            break
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - began < 2

    def test_a_stream_may_take_its_time(self, front: int) -> None:
        begin = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = raw(front, begin, b"3\r\nabc\r\n", b"3\r\nabc\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", pause=0.7)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["bytes"] == 9

    def test_a_silent_client_is_cut_off(self, front: int) -> None:
        began = time.monotonic()
        begin = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        assert problem_in(raw(front, begin)) in (400, 408)
        assert time.monotonic() - began < 4


class TestReplicas:
    def test_more_than_may_wait_are_refused_at_once(self, front: int) -> None:
        def timed(_: int) -> tuple[float, tuple[int, dict[str, str], Any]]:
            began = time.monotonic()
            answer = ask(front, "/sleep/1")
            return time.monotonic() - began, answer

        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(timed, range(10)))
        assert sorted(status for _, (status, _, _) in answers) == [200] * 4 + [503] * 6
        for seconds, (status, headers, body) in answers:
            if status == 503:
                assert_problem(503, headers, body)
                assert seconds < 0.8

    def test_a_late_answer_is_not_waited_for(self, front: int) -> None:
        status, headers, body = ask(front, "/sleep/4")
        assert status == 504
        assert_problem(504, headers, body)

    def test_a_client_may_be_silent_while_its_answer_is_made(self, front: int) -> None:
        assert ask(front, "/sleep/2.5")[0] == 200

    def test_an_end_without_an_answer(self, front: int) -> None:
        status, headers, body = ask(front, "/drop", "POST", body=b"x")
        assert status == 502
        assert_problem(502, headers, body)

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_an_error_that_is_not_the_applications_tells_nothing(self, status: int, front: int) -> None:
        seen, headers, body = ask(front, f"/status/{status}/text/plain")
        assert seen == 503
        assert_problem(503, headers, body)

    @pytest.mark.parametrize("status", [400, 422, 500, 503])
    def test_an_error_of_the_application_comes_through(self, status: int, front: int) -> None:
        seen, headers, body = ask(front, f"/status/{status}/{PROBLEM}")
        assert (seen, headers["content-type"]) == (status, PROBLEM)
        assert body["secret"] == "x"

    def test_without_an_application_all_is_unavailable(self, tmp_path: Path) -> None:
        port = free_port()
        generated(tmp_path, port, ())
        haproxy = start(tmp_path)
        try:
            wait_for(lambda: listens(port))
            status, headers, body = ask(port)
            assert status == 503
            assert_problem(503, headers, body)
        finally:
            haproxy.kill()
            haproxy.wait()


class TestProcess:
    def test_nothing_else_listens_and_files_are_private(self, front: int, folder: Path) -> None:
        import psutil

        # Others' processes may end while they are looked at.
        mine = [p for p in psutil.process_iter(["cmdline"]) if str(folder / "cfg") in (p.info["cmdline"] or [])]
        assert len(mine) == 1
        found = {c.laddr for c in mine[0].net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        assert found == {("127.0.0.1", front)}
        assert [(folder / name).stat().st_mode & 0o777 for name in ("s", "hardened.cfg", "unavailable.http")] == [
            0o600
        ] * 3

    def test_it_ends_with_its_parent(self, replica: int, tmp_path: Path) -> None:
        port = free_port()
        generated(tmp_path, port, (replica,))
        arguments = [sys.executable, "-m", "serve.front", "-db", "-f", str(tmp_path / "cfg"), "-dR"]
        program = f"import subprocess; subprocess.Popen({arguments!r}).wait()"
        parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        wait_for(lambda: listens(port))
        parent.kill()
        parent.wait()
        wait_for(lambda: not listens(port), 3)

    def test_a_reload_takes_over_and_loses_nothing(self, replica: int, tmp_path: Path) -> None:
        port = free_port()
        generated(tmp_path, port, (replica,))
        before = start(tmp_path)
        after = None
        try:
            wait_for(lambda: listens(port))
            with ThreadPoolExecutor(1) as pool:
                in_flight = pool.submit(ask, port, "/sleep/1.5")
                time.sleep(0.3)
                after = start(tmp_path, "-sf", str(before.pid), "-x", str(tmp_path / "s"))
                seen = []
                while before.poll() is None:
                    seen.append(ask(port)[0])
                assert set(seen) == {200}
                assert in_flight.result()[0] == 200
            assert ask(port)[0] == 200 and after.poll() is None
        finally:
            for process in (before, after):
                if process is not None:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
                    process.wait()
