from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import zstandard

from actors.classifier import ClassifyRows
from cluster.rows import Rows
from serve.api_keys import ApiKeys
from serve.settings import LOGGER, Limits
from tests.serve.conftest import asking, endpoint_of, run, trained

CLASSIFY = "/v1/models/quality:classify"
NDJSON = {"content-type": "application/x-ndjson"}
HARD_TEXTS = ["red apple", "", "a\0b", "x\u2028y", "\U0001f600", "__label__cars </s>", " \n\t", "é" * 3000]


def ask(model_dir: Path, *requests: dict[str, Any], **changes: Any) -> list[httpx.Response]:
    """The answers of a fresh endpoint to requests, one after the other."""

    async def work() -> list[httpx.Response]:
        endpoint = await endpoint_of(quality=model_dir)
        if "limits" in changes:
            endpoint.set_limits(changes["limits"])
        if "keys" in changes:
            endpoint.keys = changes["keys"]

        async def all_of(client: httpx.AsyncClient) -> list[httpx.Response]:
            return [await client.request(**{"method": "POST", "url": CLASSIFY} | request) for request in requests]

        return await asking(endpoint, all_of)

    return run(work())


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == response.status_code
    return response.status_code, found["detail"]


def inferred(model_dir: Path, texts: list[str]) -> list[dict[str, Any]]:
    """What `infer-fasttext` writes for the texts."""
    stage = ClassifyRows(str(model_dir), "p")
    stage.setup()
    lines = [json.dumps({"text": text}).encode() for text in texts]
    return [json.loads(line)["p"] for line in stage.process(Rows("s", lines, list(range(len(lines))))).lines]


def test_answers_are_those_of_infer(model_dir: Path):
    (response,) = ask(model_dir, {"content": json.dumps({"inputs": HARD_TEXTS})})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["probabilities"] for result in results] == inferred(model_dir, HARD_TEXTS)
    for result in results:
        assert (
            result["probability"] == result["probabilities"][result["label"]] == max(result["probabilities"].values())
        )


def test_a_stream_is_answered_line_by_line_and_a_bad_line_stops_nothing(model_dir: Path):
    lines = [b'"red apple"', b"nope", b'{"text":"old car","more":1}', b"", b'{"other":1}', b'"\\ud800"', b'"\xff"']
    (response,) = ask(model_dir, {"content": b"\n".join(lines), "headers": NDJSON})
    found = [json.loads(line) for line in response.content.splitlines()]
    assert ["error" in each for each in found] == [False, True, False, True, True, False, True]
    # Half of a surrogate pair has no UTF-8: it is read as U+FFFD, as fastText's own lines are.
    assert [found[n]["probabilities"] for n in (0, 2, 5)] == inferred(model_dir, ["red apple", "old car", "\ufffd"])
    assert response.headers["x-gristmill-version"]


def test_a_stream_of_many_lines_keeps_their_order(model_dir: Path):
    texts = [f"car {number} apple" * (number % 40) for number in range(5000)]
    content = zstandard.compress(b"\n".join(map(orjson.dumps, texts)))
    (response,) = ask(model_dir, {"content": content, "headers": NDJSON | {"content-encoding": "zstd"}})
    assert [json.loads(line)["probabilities"] for line in response.content.splitlines()] == inferred(model_dir, texts)


def test_a_line_that_is_too_long_gets_an_error_and_its_neighbours_an_answer(model_dir: Path):
    limits = Limits(max_body_bytes=1 << 20)
    lines = [b'"red apple"', b'"' + b"x" * (1 << 20) + b'"', b'"old car"']
    (response,) = ask(model_dir, {"content": b"\n".join(lines), "headers": NDJSON}, limits=limits)
    found = [json.loads(line) for line in response.content.splitlines()]
    assert found[1] == {"error": "the line is longer than 1 MiB"}
    assert [each.get("label") for each in found] == ["food", None, "cars"]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compressed_bodies_are_taken_in_several_frames_too(model_dir: Path, encoding: str):
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    body = json.dumps({"inputs": ["red apple"]}).encode()
    content = compress(body[:9]) + compress(b"") + compress(body[9:])
    (response,) = ask(model_dir, {"content": content, "headers": {"content-encoding": encoding}})
    assert response.json()["results"][0]["label"] == "food"


BOMB = b'{"inputs": ["' + bytes(64 << 20).replace(b"\0", b"a") + b'"]}'


@pytest.mark.parametrize(
    ("content", "headers", "status", "says"),
    [
        (b"nope", {}, 400, "not JSON"),
        (b"", {}, 400, "not JSON"),
        (b'{"inputs": ["\xff"]}', {}, 400, "not UTF-8"),
        (b"[" * 100_000, {}, 422, "Expected `object`"),
        (b'{"inputs": ' + b"[" * 100_000, {}, 422, "Expected `str`"),
        (b'{"inputs": "a"}', {}, 422, "Expected `array`"),
        (b'{"inputs": ["a", 7]}', {}, 422, "Expected `str`, got `int`"),
        (b'{"inputs": ["\\ud800", 7]}', {}, 422, "Expected `str`, got `int`"),
        (b'{"inputs": ["\\ud800"', {}, 400, "not JSON"),
        (b"{}", {}, 422, "missing required field `inputs`"),
        (b'{"inputs": [], "model": 1}', {}, 422, "unknown field `model`"),
        (b'{"inputs": ["a"], "top_k": 0}', {}, 422, "top_k"),
        (b'{"inputs": ["a"], "normalize": 1}', {}, 422, "Expected `bool`"),
        (orjson.dumps({"inputs": ["a"] * 100_000}), {}, 413, "100000 texts"),
        (b'{"inputs": ["' + b"a" * (50 << 20) + b'"]}', {}, 413, "larger than 8 MiB"),
        (gzip.compress(BOMB), {"content-encoding": "gzip"}, 413, "larger than 8 MiB"),
        (zstandard.compress(BOMB), {"content-encoding": "zstd"}, 413, "larger than 8 MiB"),
        (b"nope", {"content-encoding": "gzip"}, 400, "not gzip"),
        (b"nope", {"content-encoding": "zstd"}, 400, "not zstd"),
        # No time of day in the bytes: they name the test, and two workers must give it one name.
        (gzip.compress(b'{"inputs": []}', mtime=0)[:-3], {"content-encoding": "gzip"}, 400, "breaks off"),
        (zstandard.compress(b'{"inputs": []}')[:-1], {"content-encoding": "zstd"}, 400, "breaks off"),
        (b"{}", {"content-encoding": "br"}, 415, "gzip, zstd"),
    ],
)
def test_bodies_that_cannot_be_answered_say_what_is_wrong(
    model_dir: Path, content: bytes, headers: dict[str, str], status: int, says: str
):
    (response,) = ask(model_dir, {"content": content, "headers": headers})
    found, detail = problem(response)
    assert found == status
    assert says in detail


def test_a_field_that_is_wrong_is_named(model_dir: Path):
    (response,) = ask(model_dir, {"content": b'{"inputs": ["a", 7]}'})
    assert response.json()["field"] == "inputs[1]"


def test_nothing_and_an_empty_text_are_answered(model_dir: Path):
    empty, blank = ask(model_dir, {"json": {"inputs": []}}, {"json": {"inputs": [""]}})
    assert (empty.status_code, empty.json()["results"]) == (200, [])
    assert blank.json()["results"][0]["probabilities"] == inferred(model_dir, [""])[0]


def test_top_k_leaves_out_the_others(model_dir: Path):
    body, stream = ask(
        model_dir,
        {"json": {"inputs": ["red apple"], "top_k": 1}},
        {"url": f"{CLASSIFY}?top_k=1", "content": b'"red apple"', "headers": NDJSON},
    )
    assert list(body.json()["results"][0]["probabilities"]) == ["food"] == list(stream.json()["probabilities"])


def test_the_models_own_normal_form_is_applied_unless_it_has_been(tmp_path: Path):
    model = trained(tmp_path / "model", normalization={"name": "plsfix"}, max_length=9)
    asked = {"inputs": ["red ï¬\x81 apple pie car car car"]}
    with_it, without = ask(model, {"json": asked}, {"json": asked | {"normalize": False}})
    assert with_it.json()["results"][0]["probabilities"] == inferred(model, asked["inputs"])[0]
    assert with_it.json()["results"] != without.json()["results"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/models/other:classify", 404),
        ("POST", "/v1/models/quality:train", 405),
        ("GET", CLASSIFY, 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/healthz", 405),
    ],
)
def test_what_is_not_there_is_not_found(model_dir: Path, method: str, path: str, status: int):
    (response,) = ask(model_dir, {"method": method, "url": path})
    assert problem(response)[0] == status
    assert ("allow" in response.headers) == (status == 405)


def test_models_say_what_they_are(model_dir: Path):
    models, model, health, ready = ask(
        model_dir,
        *({"method": "GET", "url": url} for url in ("/v1/models", "/v1/models/quality", "/healthz", "/readyz")),
    )
    assert models.json() == {"models": [model.json()]}
    assert model.json() | {"version": ""} == {
        "name": "quality",
        "kind": "fasttext",
        "task": "classification",
        "labels": ["cars", "food"],
        "version": "",
        "normalization": None,
        "normalization_steps": [],
        "max_length": None,
        "calibrated": False,
    }
    assert (health.json()["status"], ready.json()["status"]) == ("ok", "ready")


def test_words_that_move_the_output_are_found(model_dir: Path):
    text = "a red apple,\n  and a car"
    food, cars, wrong = ask(
        model_dir,
        *(
            {"url": "/v1/models/quality:explain", "json": {"input": text, "label": label}}
            for label in ("food", "cars", "birds")
        ),
    )
    pieces = food.json()["pieces"]
    assert "".join(piece["text"] for piece in pieces) == text
    effect = {piece["text"]: piece["effect"] for piece in pieces}
    assert effect["apple"] > 0 > effect["car"]
    assert effect["\n  "] is None
    assert food.json()["probability"] == inferred(model_dir, [text])[0]["food"]
    without = inferred(model_dir, [text.replace("apple", "")])[0]["food"]
    assert effect["apple"] == pytest.approx(food.json()["probability"] - without, abs=2e-6)
    assert {piece["text"]: piece["effect"] for piece in cars.json()["pieces"]}["apple"] < 0
    assert problem(wrong) == (422, "the labels of this model are cars, food")


# ------------------------------------------------------------------------------------------------------------- keys


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeys:
    file = tmp_path / "keys.txt"
    file.write_text("# the team's\n0123456789abcdef0123\n\nfedcba98765432100123\n")
    return ApiKeys(str(file))


@pytest.mark.parametrize("key", ["0123456789abcdef0123", "fedcba98765432100123"])
def test_a_key_lets_in(model_dir: Path, keys: ApiKeys, key: str):
    (response,) = ask(model_dir, {"json": {"inputs": ["a"]}, "headers": {"authorization": f"Bearer {key}"}}, keys=keys)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/quality", CLASSIFY, "/v1/models/other:classify", "/metrics"]
)
@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"authorization": "Bearer wrong-wrong-wrong-wrong"}, ""),
        ({"authorization": "Bearer "}, ""),
        ({"authorization": "Basic 0123456789abcdef0123"}, ""),
        ({"authorization": "0123456789abcdef0123"}, ""),
        ({}, "?key=0123456789abcdef0123"),
        ({}, "?authorization=Bearer%200123456789abcdef0123"),
    ],
)
def test_without_a_key_nothing_is_said_and_nothing_logged(
    model_dir: Path, keys: ApiKeys, path: str, headers: dict[str, str], query: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, LOGGER)
    method = "POST" if path.endswith("classify") else "GET"
    request = {"method": method, "url": path + query, "headers": headers, "content": b'{"inputs": ["a"]}'}
    (response,) = ask(model_dir, request, keys=keys)
    assert problem(response)[0] == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert "quality" not in response.text
    assert not caplog.records


def test_pages_and_probes_need_no_key(model_dir: Path, keys: ApiKeys):
    paths = ["/", "/docs", "/openapi.json", "/healthz", "/readyz"]
    for response in ask(model_dir, *({"method": "GET", "url": path} for path in paths), keys=keys):
        assert response.status_code == 200


# --------------------------------------------------------------------------------------------------- load, and versions


def test_more_than_can_be_done_in_time_is_refused_at_once_and_what_is_accepted_is_answered(model_dir: Path):
    async def work() -> list[httpx.Response]:
        endpoint = await endpoint_of(quality=model_dir)
        endpoint.batcher.speed = 1e6
        texts = ["red apple pie " * 20] * 2000  # more than half a second of work at this speed

        async def flood(client: httpx.AsyncClient) -> list[httpx.Response]:
            asked = [client.post(CLASSIFY, json={"inputs": texts}) for _ in range(20)]
            return await asyncio.gather(*asked)

        return await asking(endpoint, flood)

    responses = run(work())
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 503}
    for response in responses:
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) >= 1
        else:
            assert len(response.json()["results"]) == 2000


def test_bodies_are_held_within_bounds(model_dir: Path):
    limits = Limits(max_held_bytes=1 << 20, max_wait_ms=60_000)
    texts = {"inputs": ["x" * 700_000]}

    async def work() -> list[httpx.Response]:
        endpoint = await endpoint_of(quality=model_dir)
        endpoint.set_limits(limits)

        async def flood(client: httpx.AsyncClient) -> list[httpx.Response]:
            return await asyncio.gather(*(client.post(CLASSIFY, json=texts) for _ in range(5)))

        return await asking(endpoint, flood)

    assert sorted(response.status_code for response in run(work()))[-1] == 503


def test_a_new_version_is_taken_up_and_one_that_is_broken_is_not(tmp_path: Path):
    async def work() -> None:
        directory = trained(tmp_path / "model")
        endpoint = await endpoint_of(quality=directory)
        before = endpoint.models.current["quality"]
        await endpoint.models.refresh()
        assert endpoint.models.current["quality"] is before
        trained(directory, epoch=2)
        await endpoint.models.refresh()
        after = endpoint.models.current["quality"]
        assert after.version != before.version
        (directory / "model.bin").write_bytes(b"broken")
        (directory / "card.json").write_text((directory / "card.json").read_text() + "\n")
        await endpoint.models.refresh()
        still = endpoint.models.current["quality"]
        assert still.model is after.model
        assert "model.bin has 6 bytes" in still.describe()["failed_update"]
        trained(directory)
        await endpoint.models.refresh()
        assert endpoint.models.current["quality"].version == before.version
        assert "failed_update" not in endpoint.models.current["quality"].describe()

    run(work())


def test_requests_are_counted(model_dir: Path):
    *_, metrics = ask(
        model_dir,
        {"json": {"inputs": ["a", "b"]}},
        {"content": b"nope"},
        {"method": "GET", "url": "/metrics"},
    )
    lines = metrics.text.splitlines()
    assert 'gristmill_requests_total{model="quality",operation="classify",status="200"} 1.0' in lines
    assert 'gristmill_requests_total{model="quality",operation="classify",status="400"} 1.0' in lines
    assert 'gristmill_texts_total{model="quality"} 2.0' in lines


def test_a_client_that_goes_away_leaves_no_work_behind(model_dir: Path):
    async def work() -> None:
        endpoint = await endpoint_of(quality=model_dir)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": CLASSIFY, "query_string": b"", "headers": []}
        await endpoint(scope, receive, send)
        assert sent == []
        assert endpoint.batcher.in_line == 0

    run(work())


def test_a_gzip_bomb_is_stopped_while_it_unfolds(model_dir: Path):
    compressor = zlib.compressobj(9, wbits=31)
    bomb = compressor.compress(bytes(256 << 20)) + compressor.flush()
    (response,) = ask(model_dir, {"content": bomb, "headers": NDJSON | {"content-encoding": "gzip"}})
    assert json.loads(response.content) == {"error": "the line is longer than 8 MiB"}
