"""vLLM's own server, in its own Python, for a model in a directory."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.actors.engines.test_vllm_engine import QUIET, vllm_python


@contextmanager
def served_by_vllm(model: Path, name: str) -> Iterator[str]:
    """The server's base URL; its log lies beside the model. Skips the test where there is no vLLM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--model", str(model), "--served-model-name", name, "--dtype", "float32", "--enforce-eager"]
    command = [vllm_python(), "-m", "vllm.entrypoints.openai.api_server", *options, "--host", "127.0.0.1"]
    told = model.with_name(f"{model.name}.log")
    with told.open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=log, stderr=log, env=os.environ | QUIET, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 400
        while not _is_up(port):
            assert process.poll() is None and time.monotonic() < deadline, told.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
