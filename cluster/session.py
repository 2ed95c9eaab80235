"""Where work runs: an embedded single-node Ray, an existing cluster, or the cluster a submitted job is in.

`connect` decides by its address and by Ray's own environment; everything above it is the same in all three
places. It starts nothing but the embedded Ray, which dies with the process.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cluster.embedded import SessionError, embedded_ray, first_line, init

PACKAGES = ("cluster", "actors", "pipelines", "serve", "jobs")
KNOCK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Session:
    """A connected Ray. `workers` is the number of actors a pool gets unless its stage says otherwise."""

    workers: int
    embedded: bool
    gpus: float = 0


def _quiet() -> None:
    """Keep Ray's own announcements off the user's terminal; errors still come through as exceptions."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


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
            stack.enter_context(_interruptible())
            cores = os.cpu_count() or 1
            stack.enter_context(embedded_ray(max(cores, num_workers or 1)) if embedded else _joined(address))
            _handle(_interrupt)  # Ray has set handlers of its own
        cpus = os.cpu_count() or 1 if embedded else int(ray.cluster_resources().get("CPU", 1)) or 1
        yield Session(num_workers or cpus, embedded, float(ray.cluster_resources().get("GPU", 0)))


@contextmanager
def _joined(address: str) -> Iterator[None]:
    try:
        _knock(address)
        init(_arguments(address))
    except Exception as error:
        raise SessionError(f"no Ray cluster could be reached at {address}: {first_line(error)}") from error
    yield


# Ctrl-C and SIGTERM

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LATER = 0.1  # s
_is_interrupted = False


def check_interrupted() -> None:
    """Raise KeyboardInterrupt if there was one in this session, lest one that somebody dropped be lost."""
    if _is_interrupted:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt; during an import only when that is over.

    Native code that imports something (pandas, for Arrow) drops whatever is raised meanwhile, and so do the import
    system's own callbacks.
    """
    global _is_interrupted
    _is_interrupted = True
    if not _is_importing(frame):
        raise KeyboardInterrupt
    main = threading.main_thread().ident
    again = threading.Timer(_LATER, lambda: signal.pthread_kill(main, number) if main else None)
    again.daemon = True
    again.start()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within, SIGTERM ends the work as Ctrl-C does (Ray's own handler prints its native stack), and neither is lost."""
    global _is_interrupted
    before = [signal.getsignal(each) for each in _SIGNALS]
    _is_interrupted = False
    _handle(_interrupt)
    try:
        yield
    finally:
        _is_interrupted = False
        _handle(*before)


def _handle(*handlers: Any) -> None:
    """One handler for both signals, or one for each."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in zip(_SIGNALS, handlers * (len(_SIGNALS) // len(handlers)), strict=True):
            signal.signal(number, handler)


def _knock(address: str) -> None:
    """Raise OSError where nobody answers at a host and port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _arguments(address: str) -> dict[str, Any]:
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # a submitted job brings its own working directory
        return {"address": address}
    root = Path(__file__).resolve().parent.parent
    modules = [str(root / package) for package in PACKAGES if (root / package).is_dir()]
    return {"address": address, "runtime_env": {"py_modules": modules}}
