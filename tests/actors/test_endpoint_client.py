"""The client against the real endpoint behind a real HTTP server, and against one that misbehaves in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors import endpoint_client
from actors.endpoint_client import Endpoint, EndpointClient, EndpointError
from actors.remote_classifier import ClassifyRowsRemotely
from serve.api_keys import ApiKeys
from tests.serve.conftest import endpoint_of, listening, trained
from tests.serve.test_endpoint import inferred

pytest.importorskip("aiohttp")
KEY = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("client") / "model")


class Faults:
    """The endpoint, with a fault before each of its next answers."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.faults: list[str] = []
        self.requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.requests += 1
            fault = self.faults.pop(0) if self.faults else ""
            if fault.isdigit():
                headers = [(b"retry-after", b"0"), (b"content-type", b"application/problem+json")]
                await send({"type": "http.response.start", "status": int(fault), "headers": headers})
                await send({"type": "http.response.body", "body": b'{"detail": "not now"}'})
                return
            if fault == "reset":
                raise ConnectionResetError
            if fault == "cut":
                await self._cut(scope, receive, send)
                return
            if fault == "slow":
                await asyncio.sleep(1.0)
        await self.app(scope, receive, send)

    async def _cut(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the first lines and end the stream as if it were whole."""
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"application/x-ndjson")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"probabilities":{}}\n'})


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[tuple[Faults, str]]:
    endpoint = asyncio.run(endpoint_of(quality=model))
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    endpoint.keys = ApiKeys(str(keys))
    app = Faults(endpoint)
    with listening(app) as url:
        yield app, url


@pytest.fixture
def client(server: tuple[Faults, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointClient]:
    monkeypatch.setenv(endpoint_client.KEY_VARIABLE, KEY)
    monkeypatch.setattr(endpoint_client, "FIRST_PAUSE", 0.01)
    with EndpointClient(Endpoint(server[1], "quality", patience=5)) as client:
        yield client


def probabilities(results: list[Any]) -> list[dict[str, float]]:
    return [json.loads(bytes(result.probabilities)) for result in results]


def test_texts_come_back_in_order_with_what_infer_writes(client: EndpointClient, model: Path):
    texts = [f"car {number} apple\n" * (number % 50) for number in range(3000)]
    assert probabilities(client.classify(texts)) == inferred(model, texts)
    assert client.classify(["\ud800"])[0].error is None


@pytest.mark.parametrize("fault", ["503", "500", "502", "429", "408", "reset", "cut"])
def test_what_may_pass_is_tried_again(client: EndpointClient, server: tuple[Faults, str], model: Path, fault: str):
    app, _ = server
    app.faults = [fault, fault]
    assert probabilities(client.classify(["red apple", "car"])) == inferred(model, ["red apple", "car"])
    assert app.requests == 3


def test_a_server_that_is_silent_is_asked_again(
    client: EndpointClient, server: tuple[Faults, str], model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(endpoint_client, "SILENT_SECONDS", 0.2)
    server[0].faults = ["slow"]
    assert probabilities(client.classify(["car"])) == inferred(model, ["car"])
    assert server[0].requests == 2


def test_patience_ends_with_one_clear_line(server: tuple[Faults, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint_client, "FIRST_PAUSE", 0.01)
    server[0].faults = ["503"] * 10_000
    with (
        EndpointClient(Endpoint(server[1], "quality", patience=0.3)) as client,
        pytest.raises(EndpointError, match=r"does not answer after 0 s of trying \(503: not now\)"),
    ):
        client.describe()


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint_client, "FIRST_PAUSE", 0.01)
    with (
        EndpointClient(Endpoint("http://127.0.0.1:9", "quality", patience=0.2)) as client,
        pytest.raises(EndpointError, match=r"http://127.0.0.1:9 does not answer"),
    ):
        client.describe()


def test_what_will_not_pass_is_said_at_once(server: tuple[Faults, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(endpoint_client.KEY_VARIABLE, raising=False)
    with (
        EndpointClient(Endpoint(server[1], "quality", patience=60)) as client,
        pytest.raises(EndpointError, match=r"401.*set GRISTMILL_API_KEY or give --api-key-file"),
    ):
        client.describe()
    monkeypatch.setenv(endpoint_client.KEY_VARIABLE, KEY)
    with (
        EndpointClient(Endpoint(server[1], "other", patience=60)) as client,
        pytest.raises(EndpointError, match="404, no model of this name is served; there are: quality"),
    ):
        client.classify(["a"])
    with (
        EndpointClient(Endpoint("nonsense", "other", patience=60)) as client,
        pytest.raises(EndpointError, match="nonsense"),
    ):
        client.describe()
    assert server[0].requests == 2


def test_a_key_comes_from_a_file_and_never_shows(server: tuple[Faults, str], tmp_path: Path):
    file = tmp_path / "key"
    file.write_text(f"# mine\n{KEY}\n")
    endpoint = Endpoint(server[1], "quality", str(file))
    with EndpointClient(endpoint) as client:
        assert client.describe()["name"] == "quality"
    assert KEY not in repr(endpoint)
    with pytest.raises(EndpointError, match="none cannot be read"):
        EndpointClient(Endpoint(server[1], "quality", str(tmp_path / "none")))


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint_client, "find_spec", lambda name: None if name == "tenacity" else object())
    with pytest.raises(EndpointError, match="needs tenacity: pip install tenacity"):
        EndpointClient(Endpoint("http://127.0.0.1:9", "quality"))


def test_another_version_is_not_mixed_in(client: EndpointClient):
    version = client.describe()["version"]
    assert client.classify(["a"], version)
    with pytest.raises(EndpointError, match=f"of version {version} now, and this run began with another: add --fresh"):
        client.classify(["a"], "another")


def test_the_stage_writes_what_the_local_one_does(client: EndpointClient, model: Path):
    from actors.classifier import ClassifyRows
    from cluster.rows import Rows

    lines = [
        b'{"text":"red apple","n":1.50}',
        b'{"text":7}',
        b"{",
        b'{"text":"\xc3\xa9\\u0000","p":{}}',
        b'{"text":""}',
    ]
    remote = ClassifyRowsRemotely(client.endpoint, client.describe()["version"], "p")
    local = ClassifyRows(str(model), "p")
    found = []
    for stage in (remote, local):
        stage.setup()
        found.append(stage.process(Rows("s", list(lines), list(range(1, 6)))))
    assert found[0].lines == found[1].lines
    assert found[0].rejected == found[1].rejected
