"""What tests all over the project share: one embedded Ray, and a real S3 server over HTTP (moto)."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "secret-that-must-not-show",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
_FOREIGN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


class _AtomicPuts:
    """moto looks whether a key exists and stores it in two steps; a lock makes them one."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT":
            with self._lock:
                return self._application(environ, start_response)
        return self._application(environ, start_response)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint URL of an S3 server; the environment holds credentials for it, also for child processes."""
    server_module = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in _CREDENTIALS.items():
            environment.setenv(name, value)
        for name in _FOREIGN:
            environment.delenv(name, raising=False)
        server.start()
        server._server.app = _AtomicPuts(server._server.app)
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="session")
def s3_client(s3_server: str) -> Any:
    """A boto3 client of `s3_server`."""
    return boto3.session.Session().client("s3", endpoint_url=s3_server)


@pytest.fixture
def s3_bucket(s3_client: Any) -> str:
    """The name of a fresh, empty bucket on `s3_server`."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def ray_session(s3_server: str) -> Iterator[Any]:
    """A session on an embedded Ray that all tests share; take other numbers of workers up to 4 with `replace`.

    It starts after `s3_server`, so that its workers inherit the credentials.
    """
    from cluster.session import connect

    with connect(num_workers=4) as session:
        yield session
