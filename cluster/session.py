"""Where work runs: an embedded single-node Ray, an existing cluster, or the cluster a submitted job is in.

`connect` decides by its address and by Ray's own environment; everything above it is the same in all three
places. It starts nothing but the embedded Ray, which dies with the process.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import GristmillError

PACKAGES = ("cluster", "actors", "pipelines", "jobs")
# Chunks stay in their actors; the object store carries reports of a few hundred bytes.
EMBEDDED_OBJECT_STORE_BYTES = 512 << 20
VITAL = ("gcs_server", "raylet")  # Ray's names for the processes without which nothing goes on
WATCH_SECONDS = 0.5
START_SECONDS = 180.0  # Ray starts in seconds, on a crowded machine in a minute; now and then it never does
START_ATTEMPTS = 3
KNOCK_SECONDS = 15.0


class SessionError(GristmillError):
    """Ray could not be started or reached; the message says where and what to try."""


@dataclass(frozen=True, slots=True)
class Session:
    """A connected Ray. `workers` is the number of actors a pool gets unless its stage says otherwise."""

    workers: int
    embedded: bool


def _quiet() -> None:
    """Keep Ray's own announcements off the user's terminal; errors still come through as exceptions."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


@contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Ray's C++ core announces its log level on file descriptor 2; what goes wrong it raises as an exception."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def _watched(vitals: _VitalProcesses) -> Iterator[threading.Event]:
    """End this process, with one line, when a vital part of the embedded Ray that it starts dies, or does not start.

    Left alone Ray waits for a dead part, a minute and more, and then ends the process without a word; for the answer
    to a lost registration it waits for ever. The caller sets the event once Ray has started.
    """
    import ray._private.worker as ray_worker

    terminal = os.dup(2)  # number 2 is silenced while Ray starts
    started, over = threading.Event(), threading.Event()
    deadline = time.monotonic() + START_SECONDS

    def trouble() -> str | None:
        dead = vitals.dead()
        # Until Ray knows its node, ray.init itself notices that the raylet died, and is called again.
        if dead is not None and not (dead == "raylet" and ray_worker._global_node is None):
            return f"Ray's {dead} died on this machine (killed, or out of memory)"
        late = not started.is_set() and time.monotonic() > deadline
        return f"Ray did not start on this machine within {START_SECONDS:.0f} s" if late else None

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            if (found := trouble()) is not None and not over.is_set():
                clear_line = b"\r\x1b[2K\x1b[?25h" if os.isatty(terminal) else b""
                message = f"gristmill: {found}; run the same command again to continue\n"
                os.write(terminal, clear_line + message.encode())
                os._exit(1)

    watcher = threading.Thread(target=watch, name="ray-watch", daemon=True)
    watcher.start()
    try:
        yield started
    finally:
        over.set()
        watcher.join()
        os.close(terminal)


class _VitalProcesses:
    """The children of this process that are vital parts of a Ray started from now on."""

    def __init__(self) -> None:
        import psutil  # type: ignore[import-untyped,unused-ignore]  # Ray brings it, and makes it importable

        self.psutil = psutil
        self.known = {child.pid for child in psutil.Process().children()}
        self.watched: dict[str, Any] = {}

    def dead(self) -> str | None:
        """The name of one that has died."""
        if len(self.watched) < len(VITAL):
            self._look_for_new()
        return next((name for name, process in self.watched.items() if not self._alive(process)), None)

    def end(self) -> None:
        """Kill whatever this process has started since then: what is left of a Ray that did not start."""
        for child in self.psutil.Process().children():
            if child.pid not in self.known:
                with suppress(self.psutil.NoSuchProcess):
                    child.kill()
                    child.wait(10)

    def _look_for_new(self) -> None:
        for child in self.psutil.Process().children():
            if child.pid not in self.known:
                with suppress(self.psutil.NoSuchProcess):
                    # Between fork and exec a child still bears our own name; it is looked at again.
                    if child.name() in VITAL:
                        self.watched[child.name()] = child

    def _alive(self, process: Any) -> bool:
        try:
            return bool(process.is_running() and process.status() != self.psutil.STATUS_ZOMBIE)
        except self.psutil.NoSuchProcess:
            return False


@contextmanager
def connect(address: str | None = None, num_workers: int | None = None) -> Iterator[Session]:
    """Connect to Ray, and leave it again.

    Without an address: the cluster named by RAY_ADDRESS (so inside `ray job submit`), else an embedded Ray on
    this machine. Raises SessionError where no cluster answers.
    """
    _quiet()
    import ray

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    embedded = address == "local"
    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            stack.enter_context(_terminated_as_interrupted())
            stack.enter_context(_embedded(num_workers) if embedded else _joined(address))
            _on_terminate(signal.default_int_handler)  # Ray has set a handler of its own
        cpus = os.cpu_count() or 1 if embedded else int(ray.cluster_resources().get("CPU", 1)) or 1
        yield Session(num_workers or cpus, embedded)


@contextmanager
def _embedded(num_workers: int | None) -> Iterator[None]:
    """A Ray of our own. A part that dies while it starts, as on a crowded machine, is tried again."""
    import ray

    for attempt in range(1, START_ATTEMPTS + 1):
        vitals = _VitalProcesses()
        with _watched(vitals) as started:
            try:
                _init(_arguments("local", True, num_workers))
            except Exception as error:  # Ray raises plain ones too
                if attempt == START_ATTEMPTS or vitals.dead() is None:
                    raise SessionError(f"an embedded Ray could not start: {_first_line(error)}") from error
                ray.shutdown()
                vitals.end()
                continue
            started.set()
            yield
            return


@contextmanager
def _joined(address: str) -> Iterator[None]:
    try:
        _knock(address)
        _init(_arguments(address, False, None))
    except Exception as error:
        raise SessionError(f"no Ray cluster could be reached at {address}: {_first_line(error)}") from error
    yield


def _init(arguments: dict[str, Any]) -> None:
    import ray
    import ray._private.worker as ray_worker

    ray_worker.print_to_stdstream = _to_log  # its standard output is ours, where --json prints the summary
    with _native_stderr_silenced():
        ray.init(**arguments)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Within, SIGTERM ends the work as Ctrl-C does; Ray's own handler prints its native stack."""
    before = signal.getsignal(signal.SIGTERM)
    _on_terminate(signal.default_int_handler)
    try:
        yield
    finally:
        _on_terminate(before)


def _on_terminate(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _to_log(data: dict[str, Any], ignore_prefix: bool = False) -> None:
    """Takes what Ray would print: its remarks on workers that died, whose work it has started again already."""
    for line in data["lines"]:
        logging.getLogger("gristmill.ray").debug("%s: %s", data.get("pid"), line)


def _knock(address: str) -> None:
    """Raise OSError where nobody answers at a host and port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _arguments(address: str, embedded: bool, num_workers: int | None) -> dict[str, Any]:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if embedded:
        cpus = max(os.cpu_count() or 1, num_workers or 1)
        return quiet | {
            "address": "local",
            "num_cpus": cpus + 1,  # one for tasks beside a full pool
            "include_dashboard": False,
            "object_store_memory": EMBEDDED_OBJECT_STORE_BYTES,
        }
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # a submitted job brings its own working directory
        return quiet | {"address": address}
    root = Path(__file__).resolve().parent.parent
    modules = [str(root / package) for package in PACKAGES if (root / package).is_dir()]
    return quiet | {"address": address, "runtime_env": {"py_modules": modules}}
