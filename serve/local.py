"""Ray Serve behind HAProxy on this machine: what one command starts, has for itself, and ends whole.

The embedded Ray runs the replicas, each with a server of its own on 127.0.0.1; HAProxy (`serve.front`) stands before
them and alone listens on the address that was asked for. Two of these on one machine share neither files nor ports.
"""

from __future__ import annotations

import errno
import http.client
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from cluster.embedded import first_line, session_folder
from cluster.errors import GristmillError
from cluster.leftovers import ended_with_this
from cluster.session import connect
from serve.front import BINARY_VARIABLE, Limits, true_haproxy
from serve.worker_process import HOOK_VARIABLE, import_serve, prepare

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
DRAIN_SECONDS = 5.0  # for requests in flight when the command is ended
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.05
# Ports of one instance, below those that the kernel hands out. A replica that died leaves its port unused for
# minutes, lest an old HAProxy take another for it: so there are many more than replicas.
PORTS = range(20_000, 32_768, 256)
REPLICA_PORTS, OTHER_PORTS = 200, 240
NEEDED = ("fastapi", "starlette", "uvicorn")
QUIET = {"log_level": "WARNING", "enable_access_log": False}


class ServingError(GristmillError):
    """Nothing can be served here; the message says why and what to try."""


@contextmanager
def serving(host: str, port: int, cpus: int, limits: Limits | None = None) -> Iterator[None]:
    """Within, applications that are given to Ray Serve are answered for on `host` and `port`.

    Raises ServingError where the address cannot be had or a part is not installed. At the end requests in flight
    have a few seconds to be answered.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ServingError(
            f"serving needs Ray Serve, of which {', '.join(missing)} is missing: pip install 'ray[serve]'"
        )
    _free(host, port)
    with ExitStack() as stack:
        first = stack.enter_context(_claimed_ports())
        # Not below TMPDIR: the path of a socket may have 97 characters in all.
        folder = Path(tempfile.mkdtemp(prefix="gristmill-serve-", dir="/tmp"))
        stack.enter_context(ended_with_this(remove=str(folder)))
        limits = replace(limits or Limits.of(os.environ), host=host)
        stack.enter_context(_environment(_settings(folder, first) | limits.environment()))
        stack.enter_context(connect("local", cpus))
        _start(port)
        stack.callback(_drain, folder)
        yield


def wait_until_ended() -> None:
    """Return at Ctrl-C or SIGTERM, which `connect` makes the same."""
    with suppress(KeyboardInterrupt):
        signal.pause()


def wait_until_answering(host: str, port: int, seconds: float = ANSWER_SECONDS) -> None:
    """Return as soon as a request would reach a replica. Raises ServingError if that does not come about."""
    deadline = time.monotonic() + seconds
    while not _healthy(LOOPBACK if host in EVERYWHERE else host, port):
        if time.monotonic() > deadline:
            raise ServingError(
                f"nothing answers at {host}:{port} after {seconds:.0f} s; see Ray's logs in {session_folder()}/logs"
            )
        time.sleep(POLL_SECONDS)


def _settings(folder: Path, first: int) -> dict[str, str]:
    """Ray Serve's, from the environment of all its processes."""
    places = {"CONFIG_FILE_LOC": "cfg", "SOCKET_PATH": "s", "SERVER_STATE_FILE": "state", "METRICS_SOCKET_PATH": "m"}
    return {
        HOOK_VARIABLE: f"{prepare.__module__}.{prepare.__qualname__}",
        "RAY_worker_niceness": "0",  # Ray's workers give way to all others; these are asked by people who wait
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        BINARY_VARIABLE: str(_program()),
        **{f"RAY_SERVE_HAPROXY_{name}": str(folder / file) for name, file in places.items()},
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_METRICS_PORT": "0",
        "RAY_SERVE_HAPROXY_STATS_PORT": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",  # it takes tens of thousands of requests a second; the cores are for models
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS - 1),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first + REPLICA_PORTS),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first + OTHER_PORTS - 1),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(first + OTHER_PORTS),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(first + OTHER_PORTS + 1),
        # HAProxy knows of a change within a second, so a replica need not stay longer than its requests take.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # a HAProxy that died is replaced after three such
    }


def _start(port: int) -> None:
    serve = import_serve()
    from ray.serve._private import client

    client.CLIENT_POLLING_INTERVAL_S = POLL_SECONDS  # `serve.run` would look once a second
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        serve.start(http_options={"host": LOOPBACK, "port": port}, logging_config=QUIET)
    except Exception as error:  # Ray raises plain ones too
        raise ServingError(f"Ray Serve could not start: {first_line(error)}") from error


def _program() -> Path:
    """The console script that stands for HAProxy, after a look whether there is one."""
    true_haproxy()
    program = Path(sys.executable).with_name("gristmill-haproxy")
    if not program.is_file():
        raise ServingError(f"{program} is missing; install gristmill again: pip install gristmill")
    return program


def _free(host: str, port: int) -> None:
    """Raise ServingError where nothing may listen on this host and port now."""
    place = f"{host}:{port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise ServingError(f"{host} is not a host name or address that is known here; give another --host") from error
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"{place} is in use; give another --port",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine; give another --host",
            errno.EACCES: f"{place} is not allowed to this user; give a --port of 1024 or above",
        }
        raise ServingError(reasons.get(error.errno or 0, f"{place} cannot be listened on: {error.strerror}")) from error


@contextmanager
def _claimed_ports() -> Iterator[int]:
    """The first of a block of ports that no other instance takes while this one is there."""
    with socket.socket() as claim:
        for first in random.sample(PORTS, len(PORTS)):
            with suppress(OSError):
                claim.bind((LOOPBACK, first + PORTS.step - 1))
                break
        else:
            raise ServingError(f"no ports are free from {PORTS.start} to {PORTS.stop}; end what uses them")
        yield first


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _healthy(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/-/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _drain(folder: Path) -> None:
    """Have HAProxy take nothing new, and wait until it has answered what it has. What follows ends everything."""
    if not any(_in_flight(path) for path in folder.glob("*/s")):
        return
    import psutil  # type: ignore[import-untyped,unused-ignore]

    mine = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if any(part.startswith(f"{folder}/") for part in process.cmdline()):
                process.send_signal(signal.SIGUSR1)
                mine.append(process)
    psutil.wait_procs(mine, timeout=DRAIN_SECONDS)


def _in_flight(path: Path) -> int:
    """Requests that the HAProxy of this admin socket is at work on."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as admin:
        admin.settimeout(1)
        admin.connect(str(path))
        admin.sendall(b"show stat\n")
        rows = [line.split(",") for line in admin.makefile().read().splitlines()]
        # columns: name of the backend, of the server, then queued requests and their peak, requests at work on
        return sum(int(row[4]) for row in rows if row[1:2] == ["BACKEND"] and not row[0].startswith("default"))
    return 0
