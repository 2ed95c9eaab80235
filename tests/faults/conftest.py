"""An S3 server in a process of its own, so that it outlives whatever is killed; and datasets with awkward rows."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_process() -> Iterator[str]:
    """The endpoint URL of a moto server; the environment holds credentials for it, also for child processes."""
    pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in _CREDENTIALS.items():
            environment.setenv(name, value)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", int(port)), 1).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < deadline, "the S3 server does not start"
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


@pytest.fixture(scope="session")
def s3(s3_process: str) -> Any:
    """A boto3 client of the server."""
    import boto3

    return boto3.session.Session().client("s3", endpoint_url=s3_process)


@pytest.fixture
def bucket(s3: Any) -> str:
    """The name of a fresh bucket."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def _row(number: int, shard: int) -> bytes:
    if number % 97 == 13:
        return b'{"id": %d, "text": broken' % number
    if number % 89 == 7:
        return b'{"id": %d, "text": "\xff\xfe"}' % number
    zip_code = b'"007"' if number % 2 else b"1180591620717411303424"
    text = b"alpha beta \xe2\x80\xa8 gamma \\ud83d\\ude00 " * (number % 7) + b"%d" % (number % 50)
    return b'{"id": "%d-%d", "zip": %s, "text": "%s", "label": %d, "label2":1.50}' % (
        shard,
        number,
        zip_code,
        text,
        number % 3,
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of ten shards of unequal sizes and all codecs, with some rows that are not JSON."""
    import gzip

    import zstandard

    root = tmp_path_factory.mktemp("corpus")
    for shard in range(10):
        ending = ("jsonl.zst", "jsonl.gz", "jsonl")[shard % 3]
        path = root / ("test" if shard % 4 == 0 else "train") / f"part-{shard:02}.{ending}"
        path.parent.mkdir(exist_ok=True)
        rows = b"\n".join(_row(number, shard) for number in range(120 + 60 * shard))
        codec = {"t": zstandard.compress, "z": gzip.compress, "l": bytes}[ending[-1]]
        path.write_bytes(codec(rows))
    return root
