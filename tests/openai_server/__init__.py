"""`serving(**config)`: a server that speaks OpenAI's protocol, in a process of its own, for as long as a `with` lasts.

    with serving(faults={"rate_limit": 0.1}) as server:
        ask(server.url)
        assert server.stats()["outcomes"]["ok"] == 1

The keys are those of `config.Config`, the faults those of `faults.KINDS`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Server:
    """A server at work. `url` has no /v1 at its end."""

    url: str
    process: subprocess.Popen[str] = field(repr=False)

    def get(self, path: str) -> Any:
        with _DIRECT.open(self.url + path, timeout=60) as response:
            return json.load(response)

    def post(self, path: str, content: Any) -> Any:
        request = urllib.request.Request(self.url + path, json.dumps(content).encode(), method="POST")
        with _DIRECT.open(request, timeout=60) as response:
            return json.load(response)

    def stats(self, *, by: str = "usage", digests: bool = True) -> dict[str, Any]:
        """The ledger; peaks of tokens `by` usage or reserved."""
        stats: dict[str, Any] = self.get(f"/_stats?by={by}&digests={int(digests)}")
        return stats

    def arrivals(self) -> list[list[float]]:
        """[monotonic seconds, tokens of the answer, tokens reserved] of every question."""
        arrivals: list[list[float]] = self.get("/_arrivals")
        return arrivals

    def configure(self, **config: Any) -> None:
        """Replace these keys of the configuration, at once."""
        self.post("/_configure", config)

    def reset(self) -> None:
        """Clear the ledger; attempts count from 1 again."""
        self.post("/_reset", {})

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(*, state: Path | None = None, port: int = 0, **config: Any) -> Server:
    """A server that listens; the caller closes it. With a `state` directory, files and batches outlive it."""
    command = [sys.executable, "-m", "tests.openai_server.server", "--port", str(port)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        command += ["--config", file.name, *(["--state", str(state)] if state else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        said = process.stdout.readline()
    if not said.startswith("listening on "):
        process.kill()
        process.wait()
        raise RuntimeError(f"the server did not start: {said.strip() or 'see its standard error'}")
    return Server(f"http://{said.removeprefix('listening on ').strip()}", process)


@contextmanager
def serving(*, state: Path | None = None, port: int = 0, **config: Any) -> Iterator[Server]:
    """A server that listens, to the end of the block."""
    server = start(state=state, port=port, **config)
    try:
        yield server
    finally:
        server.close()
