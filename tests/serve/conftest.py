"""Small trained models, and the endpoint without Ray: as an ASGI application, and behind a real HTTP server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from actors.classifiers.fasttext import FastTextParams
from actors.classifiers.fasttext import train as train_fasttext
from serve.endpoint import Endpoint
from serve.settings import ModelSettings

TEXTS = ["red apple pie", "green apple tart", "fast red car", "old green car"] * 10
ROOT = Path(__file__).resolve().parents[2]
LABELS = ["food", "food", "cars", "cars"] * 10
Result = TypeVar("Result")


def trained(directory: Path, *, epoch: int = 20, **options: Any) -> Path:
    """A fastText model of two labels, food and cars."""
    lines = directory.parent / f"{directory.name}.txt"
    lines.write_text("".join(f"__label__{label} {text}\n" for text, label in zip(TEXTS, LABELS, strict=True)))
    params = FastTextParams(dimension=8, bucket=50, min_count=1, learning_rate=0.5, epoch=epoch)
    train_fasttext(lines, directory, params, overwrite=True, **options)
    return directory


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("fasttext")
    return trained(tmp_path_factory.mktemp("served") / "model")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


async def endpoint_of(**models: Path) -> Endpoint:
    """An endpoint that serves these models."""
    endpoint = Endpoint()
    await endpoint.models.take({name: ModelSettings(str(path)) for name, path in models.items()})
    return endpoint


def asking(endpoint: Endpoint, work: Callable[[httpx.AsyncClient], Awaitable[Result]]) -> Awaitable[Result]:
    """Do the work with a client of the endpoint, without a network."""

    async def with_client() -> Result:
        transport = httpx.ASGITransport(endpoint)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return await work(client)

    return with_client()


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The URL of an ASGI application behind uvicorn, in a thread of this process."""
    uvicorn = pytest.importorskip("uvicorn")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def endpoint_url(model_dir: Path) -> Iterator[str]:
    """The URL of an endpoint that serves the model as `quality`."""
    endpoint = asyncio.run(endpoint_of(quality=model_dir))
    with listening(endpoint) as url:
        yield url


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Served:
    """A `gristmill serve` at work: a process, a URL, and what it has said."""

    process: subprocess.Popen[str]
    url: str
    said: Path

    def replicas(self) -> list[int]:
        """The processes that hold models."""
        return processes_named("ray::ServeReplica:classifiers:classifiers", self.process.pid)


def processes_named(name: str, session: int) -> list[int]:
    """The processes of a session whose command line begins with `name`."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            sid = int((place / "stat").read_text().rpartition(")")[2].split()[3])
            if sid == session and (place / "cmdline").read_bytes().startswith(name.encode()):
                found.append(int(place.name))
        except OSError:
            continue
    return found


@contextmanager
def serving(folder: Path, *arguments: str, wait: float = 90) -> Iterator[Served]:
    """`gristmill serve` with these arguments, from its first answer to its whole end."""
    port = free_port()
    command = [sys.executable, "-m", "jobs.serve", "--port", str(port), *arguments]
    said = folder / "serve.log"
    with said.open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=ROOT
        )
    try:
        deadline = time.monotonic() + wait
        while "interface" not in said.read_text():
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        yield Served(process, f"http://127.0.0.1:{port}", said)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
